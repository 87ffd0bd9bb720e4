//! The database: one LMDB environment with the keys and, in the same transactions, the revision.
//!
//! LMDB, because a second process can open it read-only while the first one writes: that is what makes a
//! successor's warm-up real. (redb, by contrast, lets one process open a file, whatever for.) Its commits are
//! copy-on-write and need no recovery: after a crash the last synced transaction is simply there, so opening
//! costs the same whether or not the predecessor sealed.
//!
//! Invariant: no thread holds on to the environment outside of a call. It can therefore be closed at any time, even
//! while connections are open; a later call returns [`StoreError::Closed`].
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use handoff::Fingerprint;
use heed::types::Bytes;
use heed::{AnyTls, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};

use crate::sync::{lock, read, write};

/// The longest key in bytes: LMDB's own limit. The shortest is one byte.
pub(crate) const MAX_KEY_BYTES: usize = 511;
/// The number of read transactions that may be open at once, over all processes.
const MAX_READERS: u32 = 2048;
/// Names what [`Store::fingerprint`] digests.
const FINGERPRINT_SCHEME: u16 = 1;
const KEYS: &str = "keys";
const META: &str = "meta";
const REVISION: &[u8] = b"revision";

type Database = heed::Database<Bytes, Bytes>;

/// The reason why the database did not do as told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Has been sealed, or was never opened.
    #[error("the database is closed")]
    Closed,
    /// Nothing was written: the map, or the transaction, has no room.
    #[error("the database is full")]
    Full,
    /// The revision is not a number.
    #[error("the revision in the database is damaged")]
    Damaged,
    /// LMDB, or the system below it.
    #[error("database: {0}")]
    Lmdb(heed::Error),
    /// The directory.
    #[error("{path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
}

impl From<heed::Error> for StoreError {
    fn from(error: heed::Error) -> StoreError {
        match error {
            heed::Error::Mdb(MdbError::MapFull | MdbError::TxnFull) => StoreError::Full,
            other => StoreError::Lmdb(other),
        }
    }
}

pub(crate) type StoreResult<T> = std::result::Result<T, StoreError>;

/// The contents of the database, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreSummary {
    /// The number of writes that have been committed since the database was created.
    pub(crate) revision: u64,
    /// The number of keys.
    pub(crate) keys: u64,
}

/// The findings of a warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warmth {
    /// The state at that moment; the incumbent goes on writing.
    pub(crate) summary: StoreSummary,
    /// The number of bytes of keys and values that were read.
    pub(crate) bytes: u64,
}

/// The database of one directory, open or closed.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    map_bytes: usize,
    open: RwLock<Option<OpenStore>>,
    /// The last known state; true when the database is closed, too.
    summary: Mutex<StoreSummary>,
}

#[derive(Debug)]
struct OpenStore {
    env: Env<WithoutTls>,
    keys: Database,
    meta: Database,
}

impl Store {
    /// A closed database in `dir`, which may grow to `map_bytes`. Touches nothing.
    pub(crate) fn new(dir: PathBuf, map_bytes: usize) -> Store {
        Store { dir, map_bytes, open: RwLock::new(None), summary: Mutex::default() }
    }

    /// Opens the database read-only beside the process that writes it, reads up to `max_bytes` for up to
    /// `max_time` so that the system has them in memory, and closes it again. `None` if there is no database yet.
    ///
    /// One transaction only: its snapshot keeps the writer from reusing pages, and to begin one takes a mutex that
    /// the processes share.
    pub(crate) fn warm_up(&self, max_bytes: u64, max_time: Duration) -> StoreResult<Option<Warmth>> {
        let env = match self.environment(EnvFlags::READ_ONLY) {
            Err(StoreError::Lmdb(heed::Error::Io(e))) if e.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        let warmth = warm(&env, max_bytes, Instant::now() + max_time);
        env.prepare_for_closing().wait();
        warmth
    }

    /// Opens the database for writing, creating it if need be; does nothing if it is open.
    pub(crate) fn open(&self) -> StoreResult<()> {
        let mut open = write(&self.open);
        if open.is_none() {
            fs::create_dir_all(&self.dir).map_err(|e| self.directory_error(e))?;
            let env = self.environment(EnvFlags::empty())?;
            // A process that was killed leaves its slots behind, and each pins a snapshot.
            env.clear_stale_readers()?;
            let opened = match OpenStore::existing(&env)? {
                Some(opened) => opened,
                None => self.create(env)?,
            };
            *lock(&self.summary) = opened.summary()?;
            *open = Some(opened);
        }
        Ok(())
    }

    /// Closes the database; every commit so far is on disk. Does nothing if it is closed.
    pub(crate) fn close(&self) {
        if let Some(open) = write(&self.open).take() {
            open.env.prepare_for_closing().wait();
        }
    }

    /// The last known state.
    pub(crate) fn summary(&self) -> StoreSummary {
        *lock(&self.summary)
    }

    /// A digest of what is on disk: the revision, the number of keys, the last transaction and the last page. Equal
    /// for a process that opens what this one closed, if nothing was written in between.
    pub(crate) fn fingerprint(&self) -> StoreResult<Fingerprint> {
        let guard = read(&self.open);
        let open = guard.as_ref().ok_or(StoreError::Closed)?;
        let (summary, info) = (open.summary()?, open.env.info());
        let parts = [summary.revision, summary.keys, info.last_txn_id as u64, info.last_page_number as u64];
        let mut digest = [0; 32];
        for (bytes, part) in digest.chunks_exact_mut(8).zip(parts) {
            bytes.copy_from_slice(&part.to_be_bytes());
        }
        Ok(Fingerprint { scheme: FINGERPRINT_SCHEME, digest })
    }

    /// Runs `work` on a snapshot.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&KeysView<'_>) -> StoreResult<T>) -> StoreResult<T> {
        let guard = read(&self.open);
        let open = guard.as_ref().ok_or(StoreError::Closed)?;
        let txn = open.env.read_txn()?;
        work(&KeysView { keys: open.keys, txn: &txn })
    }

    /// Runs `work` in a transaction and returns its result once that is on disk; if `work` or the commit fails,
    /// nothing of it has happened.
    pub(crate) fn commit<T>(&self, work: impl FnOnce(&mut Edit<'_>) -> StoreResult<T>) -> StoreResult<T> {
        let guard = read(&self.open);
        let open = guard.as_ref().ok_or(StoreError::Closed)?;
        let mut edit =
            Edit { keys: open.keys, txn: open.env.write_txn()?, revision: self.summary().revision };
        let result = work(&mut edit)?;
        let Edit { mut txn, revision, .. } = edit;
        if revision == self.summary().revision {
            return Ok(result);
        }
        open.meta.put(&mut txn, REVISION, &revision.to_be_bytes())?;
        let keys = open.keys.len(&txn)?;
        txn.commit()?;
        *lock(&self.summary) = StoreSummary { revision, keys };
        Ok(result)
    }

    /// Frees the snapshots of readers that were killed, so that their pages can be used again.
    pub(crate) fn forget_dead_readers(&self) -> StoreResult<()> {
        if let Some(open) = read(&self.open).as_ref() {
            open.env.clear_stale_readers()?;
        }
        Ok(())
    }

    #[allow(unsafe_code)]
    fn environment(&self, flags: EnvFlags) -> StoreResult<Env<WithoutTls>> {
        // Without thread-local slots a reader occupies one only while its transaction lasts, not its thread.
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(self.map_bytes).max_readers(MAX_READERS).max_dbs(2);
        // SAFETY: READ_ONLY, the only flag ever given, takes nothing away from LMDB's guarantees.
        let options = unsafe { options.flags(flags) };
        // SAFETY: the files are changed by LMDB alone, under its own lock file, on a local filesystem.
        Ok(unsafe { options.open(&self.dir) }?)
    }

    fn create(&self, env: Env<WithoutTls>) -> StoreResult<OpenStore> {
        let mut txn = env.write_txn()?;
        let keys = env.create_database(&mut txn, Some(KEYS))?;
        let meta = env.create_database(&mut txn, Some(META))?;
        txn.commit()?;
        // LMDB syncs its file, not the names that lead to it.
        // The path may be one through a descriptor, whose parent is no directory of the disk.
        let named = self.dir.canonicalize().map_err(|e| self.directory_error(e))?;
        for dir in named.ancestors().take(2) {
            File::open(dir).and_then(|d| d.sync_all()).map_err(|e| self.directory_error(e))?;
        }
        Ok(OpenStore { env, keys, meta })
    }

    fn directory_error(&self, source: io::Error) -> StoreError {
        // As people know it, not by the descriptor through which it is reached.
        StoreError::Directory { path: self.dir.canonicalize().unwrap_or_else(|_| self.dir.clone()), source }
    }
}

impl OpenStore {
    /// The databases in `env`, if they have been created.
    fn existing(env: &Env<WithoutTls>) -> StoreResult<Option<OpenStore>> {
        let txn = env.read_txn()?;
        let keys = env.open_database(&txn, Some(KEYS))?;
        let meta = env.open_database(&txn, Some(META))?;
        // LMDB forgets the handles that a transaction opened unless it is committed.
        txn.commit()?;
        Ok(keys.zip(meta).map(|(keys, meta)| OpenStore { env: env.clone(), keys, meta }))
    }

    fn summary(&self) -> StoreResult<StoreSummary> {
        let txn = self.env.read_txn()?;
        let revision = match self.meta.get(&txn, REVISION)? {
            Some(bytes) => u64::from_be_bytes(bytes.try_into().map_err(|_| StoreError::Damaged)?),
            None => 0,
        };
        Ok(StoreSummary { revision, keys: self.keys.len(&txn)? })
    }
}

fn warm(env: &Env<WithoutTls>, max_bytes: u64, until: Instant) -> StoreResult<Option<Warmth>> {
    let Some(open) = OpenStore::existing(env)? else { return Ok(None) };
    let summary = open.summary()?;
    let txn = env.read_txn()?;
    let mut bytes = 0;
    for entry in open.keys.iter(&txn)? {
        let (key, value) = entry?;
        // To look at a byte of each page is to have the page read.
        std::hint::black_box(value.iter().step_by(4096).fold(0u8, |sum, byte| sum ^ byte));
        bytes += (key.len() + value.len()) as u64;
        if bytes >= max_bytes || Instant::now() >= until {
            break;
        }
    }
    Ok(Some(Warmth { summary, bytes }))
}

/// A snapshot of the keys.
pub(crate) struct KeysView<'a> {
    keys: Database,
    txn: &'a RoTxn<'a, AnyTls>,
}

impl KeysView<'_> {
    /// The value of `key`, in the database's own memory.
    pub(crate) fn get(&self, key: &[u8]) -> StoreResult<Option<&[u8]>> {
        Ok(self.keys.get(self.txn, key)?)
    }

    /// Returns how many keys there are.
    pub(crate) fn len(&self) -> StoreResult<u64> {
        Ok(self.keys.len(self.txn)?)
    }
}

/// A transaction that writes. Each change of it raises the revision by one.
pub(crate) struct Edit<'a> {
    keys: Database,
    txn: RwTxn<'a>,
    revision: u64,
}

impl Edit<'_> {
    /// All keys, changes of this transaction included.
    pub(crate) fn view(&self) -> KeysView<'_> {
        KeysView { keys: self.keys, txn: &self.txn }
    }

    /// The value of `key`, changes of this transaction included.
    pub(crate) fn get(&self, key: &[u8]) -> StoreResult<Option<&[u8]>> {
        Ok(self.keys.get(&self.txn, key)?)
    }

    /// Writes `key`: one revision.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> StoreResult<()> {
        self.keys.put(&mut self.txn, key, value)?;
        self.revision += 1;
        Ok(())
    }

    /// Deletes those of `keys` that exist and says how many they were: one revision, unless there were none.
    pub(crate) fn delete(&mut self, keys: &[Vec<u8>]) -> StoreResult<usize> {
        let mut deleted = 0;
        for key in keys {
            deleted += usize::from(self.keys.delete(&mut self.txn, key)?);
        }
        self.revision += u64::from(deleted > 0);
        Ok(deleted)
    }
}
