/* A library that is loaded before the C library (LD_PRELOAD) and lets every transfer of a program do less than it was asked to, as
 * POSIX allows: each moves a part, and every other one is interrupted (EINTR) before it moves anything.
 *
 * Left as they are: what Linux always moves as a whole (an eventfd, inotify, a pipe up to PIPE_BUF, a datagram, a file of /proc), and
 * the files of LMDB, for which a short write means a full file system: it fails the transaction then, and never goes on.
 *
 * HANDOFF_SHORT is the directory where each program counts, in a file of its name. A shell is left alone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* As the test reads them. */
struct counts {
    atomic_ulong file_reads, file_writes, socket_reads, socket_writes, interrupted;
};

static struct counts *counts;
static atomic_uint transfers;

__attribute__((constructor)) static void begin(void) {
    const char *dir = getenv("HANDOFF_SHORT");
    char path[4096];
    if (!dir || !strcmp(program_invocation_short_name, "sh")) return;
    snprintf(path, sizeof path, "%s/%s", dir, program_invocation_short_name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *counts)) abort();
    void *mapped = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) abort();
    counts = mapped;
}

enum kind { WHOLE, PIPE, A_FILE, SOCKET };

static int is_lmdb(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 4 && !memcmp(path + length - 4, ".mdb", 4);
}

static enum kind kind_of(int fd) {
    struct stat stat;
    struct statfs system;
    int type;
    socklen_t length = sizeof type;
    if (!counts || fstat(fd, &stat)) return WHOLE;
    if (S_ISFIFO(stat.st_mode)) return PIPE;
    if (S_ISSOCK(stat.st_mode)) {
        int is_known = !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length);
        return is_known && type == SOCK_STREAM ? SOCKET : WHOLE;
    }
    if (!S_ISREG(stat.st_mode) || fstatfs(fd, &system) || system.f_type == PROC_SUPER_MAGIC) return WHOLE;
    return is_lmdb(fd) ? WHOLE : A_FILE;
}

/* A transfer begins: whether it is interrupted. */
static int interrupted(enum kind kind) {
    if (kind == WHOLE || atomic_fetch_add(&transfers, 1) % 2) return 0;
    counts->interrupted++;
    errno = EINTR;
    return 1;
}

/* How many bytes of `count` are moved: at least one. What a socket holds is short, so little is read. */
static size_t part(enum kind kind, size_t count, int is_read) {
    if (kind < A_FILE || count < 2) return count;
    size_t little = 1 + transfers % 31;
    return kind == SOCKET && is_read && little < count ? little : (count + 1) / 2;
}

/* `moved` of `given` bytes, where `asked` were asked for: counts what there may have been more of. */
static ssize_t done(enum kind kind, int is_read, size_t asked, size_t given, ssize_t moved) {
    if (given < asked && moved == (ssize_t)given) {
        if (kind == SOCKET) (*(is_read ? &counts->socket_reads : &counts->socket_writes))++;
        else (*(is_read ? &counts->file_reads : &counts->file_writes))++;
    }
    return moved;
}

#define TRANSFER(is_read, count, call)                            \
    enum kind kind = kind_of(fd);                                 \
    if (interrupted(kind)) return -1;                             \
    size_t given = part(kind, count, is_read);                    \
    return done(kind, is_read, count, given, call)

ssize_t read(int fd, void *to, size_t count) { TRANSFER(1, count, syscall(SYS_read, fd, to, given)); }

ssize_t write(int fd, const void *from, size_t count) { TRANSFER(0, count, syscall(SYS_write, fd, from, given)); }

ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    TRANSFER(1, count, syscall(SYS_pread64, fd, to, given, at));
}

ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    TRANSFER(0, count, syscall(SYS_pwrite64, fd, from, given, at));
}

/* The C library has both names for one call. */
ssize_t pread(int fd, void *to, size_t count, off_t at) { return pread64(fd, to, count, at); }

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) { return pwrite64(fd, from, count, at); }

ssize_t recvfrom(int fd, void *to, size_t count, int flags, struct sockaddr *peer, socklen_t *length) {
    TRANSFER(1, count, syscall(SYS_recvfrom, fd, to, given, flags, peer, length));
}

ssize_t sendto(int fd, const void *from, size_t count, int flags, const struct sockaddr *peer, socklen_t length) {
    TRANSFER(0, count, syscall(SYS_sendto, fd, from, given, flags, peer, length));
}

ssize_t recv(int fd, void *to, size_t count, int flags) { return recvfrom(fd, to, count, flags, NULL, NULL); }

ssize_t send(int fd, const void *from, size_t count, int flags) { return sendto(fd, from, count, flags, NULL, 0); }

ssize_t copy_file_range(int fd, off64_t *from, int to, off64_t *at, size_t count, unsigned flags) {
    TRANSFER(0, count, syscall(SYS_copy_file_range, fd, from, to, at, given, flags));
}

ssize_t sendfile64(int to, int fd, off64_t *from, size_t count) {
    TRANSFER(0, count, syscall(SYS_sendfile, to, fd, from, given));
}

/* The first buffer that holds something. */
static struct iovec first_of(const struct iovec *buffers, size_t count) {
    while (count > 1 && !buffers->iov_len) buffers++, count--;
    return count ? *buffers : (struct iovec){ NULL, 0 };
}

ssize_t readv(int fd, const struct iovec *buffers, int count) {
    if (kind_of(fd) < A_FILE) return syscall(SYS_readv, fd, buffers, count);
    struct iovec first = first_of(buffers, count);
    return read(fd, first.iov_base, first.iov_len);
}

ssize_t writev(int fd, const struct iovec *buffers, int count) {
    if (kind_of(fd) < A_FILE) return syscall(SYS_writev, fd, buffers, count);
    struct iovec first = first_of(buffers, count);
    return write(fd, first.iov_base, first.iov_len);
}

static ssize_t message(int fd, struct msghdr *message, int flags, int is_read) {
    long number = is_read ? SYS_recvmsg : SYS_sendmsg;
    enum kind kind = kind_of(fd);
    if (interrupted(kind)) return -1;
    if (kind != SOCKET) return syscall(number, fd, message, flags);
    struct msghdr shorter = *message;
    struct iovec first = first_of(message->msg_iov, message->msg_iovlen);
    size_t asked = first.iov_len;
    shorter.msg_iov = &first;
    shorter.msg_iovlen = 1;
    first.iov_len = part(kind, asked, is_read);
    ssize_t moved = syscall(number, fd, &shorter, flags);
    shorter.msg_iov = message->msg_iov;
    shorter.msg_iovlen = message->msg_iovlen;
    *message = shorter;
    return done(kind, is_read, asked, first.iov_len, moved);
}

ssize_t recvmsg(int fd, struct msghdr *to, int flags) { return message(fd, to, flags, 1); }

ssize_t sendmsg(int fd, const struct msghdr *from, int flags) {
    struct msghdr copy = *from;
    return message(fd, &copy, flags, 0);
}
