//! An example of a daemon under the reference supervisor, as people run both.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::reference::{Reference, free_address};
use crate::world::World;

/// A daemon that is run as `BINARY DATA_DIR CONTROL_SOCKET`, with one listener.
#[derive(Debug)]
pub struct Served {
    /// Its directory, and what it printed.
    pub world: World,
    /// The address that it listens at.
    pub addr: String,
    /// Its supervisor.
    pub reference: Reference,
    binary: PathBuf,
}

impl Served {
    /// Starts `binary`, whose listener is called `listener`.
    #[track_caller]
    pub fn start(binary: &str, listener: &str) -> Served {
        let world = World::new();
        let addr = free_address();
        let reference = Reference::new(&world, &[(listener, addr.clone())]);
        let served = Served { world, addr, reference, binary: binary.into() };
        served.configure(&served.binary);
        served.reference.start();
        served
    }

    fn configure(&self, binary: &Path) {
        let arguments = [self.world.layout().data(), self.world.layout().control()]
            .map(|path| path.display().to_string());
        self.reference.configure(binary, &arguments.each_ref().map(String::as_str));
    }

    /// Swaps to another process of the same build.
    #[track_caller]
    pub fn swap(&self) {
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!(code, 0, "{swap}");
    }

    /// Swaps to a build that dies when it writes its first byte: it has the lock then, and the incumbent has sealed.
    #[track_caller]
    pub fn swap_in_vain(&self) {
        let script = self.world.layout().dir().join("dies-with-the-lock");
        let binary = self.binary.display();
        fs::write(&script, format!("#!/bin/sh\nulimit -f 0\nexec '{binary}' \"$@\"\n")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        self.configure(&script);
        let (code, swap) = self.reference.ask_json("swap");
        assert_eq!((code, &swap["outcome"]), (1, &"rolled_back".into()), "{swap}");
        assert!(swap["phases_ms"]["seal"].as_f64() > Some(0.0), "it was past the seal: {swap}");
        self.configure(&self.binary);
    }
}
