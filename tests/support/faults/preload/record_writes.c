/* A library to preload: it records, in order, what a process writes to the files under one folder,
   what it syncs, and what it sends over sockets.

   RECORD_TO names the file of records, RECORD_UNDER the folder. A record is a head of 32 bytes in
   the machine's byte order (kind, inode, offset, length) and `length` bytes. Kinds: Create and
   Truncate (path, or offset as the new length), Write, Sync, Rename (both paths, each ended by 0),
   Unlink, sEnd. Calls and records are made under one lock, so that their order is the same. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST 65536
static int out = -1;
static const char *under;
static uint64_t inodes[MOST]; /* of the descriptors of files that are followed */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("RECORD_TO");
    under = getenv("RECORD_UNDER");
    if (path != NULL && under != NULL)
        out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(char kind, uint64_t inode, uint64_t offset, const void *data, uint64_t length) {
    uint64_t head[4] = {(uint64_t)kind, inode, offset, length};
    if (syscall(SYS_write, out, head, sizeof head) != sizeof head) abort();
    for (const char *from = data; length > 0;) {
        long done = syscall(SYS_write, out, from, length);
        if (done <= 0) abort();
        from += done, length -= (uint64_t)done;
    }
}

static int is_under(const char *path) {
    return out >= 0 && strncmp(path, under, strlen(under)) == 0;
}

static uint64_t inode_of(int fd) {
    struct stat found;
    return syscall(SYS_fstat, fd, &found) == 0 ? found.st_ino : 0;
}

/* The absolute path of `path` as seen from the descriptor `folder`. */
static const char *absolute(int folder, const char *path, char *full) {
    if (path[0] == '/') return path;
    char link[64], base[PATH_MAX];
    ssize_t length;
    if (folder == AT_FDCWD) {
        length = readlink("/proc/self/cwd", base, sizeof base - 1);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        length = readlink(link, base, sizeof base - 1);
    }
    base[length < 0 ? 0 : length] = 0;
    snprintf(full, 2 * PATH_MAX, "%s/%s", base, path);
    return full;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char full[2 * PATH_MAX];
    path = absolute(folder, path, full);
    if (!is_under(path)) return (int)syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int existed = faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    int error = errno;
    if (fd >= 0 && fd < MOST) {
        inodes[fd] = inode_of(fd);
        if (!existed) record('C', inodes[fd], 0, path, strlen(path));
        else if (flags & O_TRUNC) record('T', inodes[fd], 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest)
int open(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE; return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE; return opened(folder, path, flags, mode); }

static int is_followed(int fd) { return out >= 0 && fd >= 0 && fd < MOST && inodes[fd] != 0; }

int close(int fd) {
    REAL(close);
    if (is_followed(fd)) inodes[fd] = 0;
    return real(fd);
}

static ssize_t put(int fd, const void *of, size_t size, off_t at) {
    pthread_mutex_lock(&lock);
    if (at < 0) at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_pwrite64, fd, of, size, at);
    int error = errno;
    if (done > 0) record('W', inodes[fd], (uint64_t)at, of, (uint64_t)done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

ssize_t pwrite(int fd, const void *of, size_t size, off_t at) {
    REAL(pwrite);
    return is_followed(fd) ? put(fd, of, size, at) : real(fd, of, size, at);
}
ssize_t pwrite64(int fd, const void *of, size_t size, off64_t at) {
    REAL(pwrite64);
    return is_followed(fd) ? put(fd, of, size, at) : real(fd, of, size, at);
}
ssize_t write(int fd, const void *of, size_t size) {
    REAL(write);
    if (!is_followed(fd)) return real(fd, of, size);
    ssize_t done = put(fd, of, size, -1);
    if (done > 0) lseek(fd, done, SEEK_CUR);
    return done;
}

/* `change` is made between the lock and the record. */
#define RECORDED(change, kind, inode, offset, data, length) \
    pthread_mutex_lock(&lock); \
    int failed = (change), error = errno; \
    if (!failed) record(kind, inode, offset, data, length); \
    pthread_mutex_unlock(&lock); \
    errno = error; \
    return failed

int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    if (!is_followed(fd)) return real(fd, length);
    RECORDED(real(fd, length), 'T', inodes[fd], (uint64_t)length, NULL, 0);
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }
int fsync(int fd) {
    REAL(fsync);
    if (!is_followed(fd)) return real(fd);
    RECORDED(real(fd), 'S', inodes[fd], 0, NULL, 0);
}
int fdatasync(int fd) { return fsync(fd); }

static int renamed(int from, const char *old, int to, const char *new) {
    char before[2 * PATH_MAX], after[2 * PATH_MAX], both[4 * PATH_MAX];
    old = absolute(from, old, before), new = absolute(to, new, after);
    REAL(renameat);
    if (!is_under(old)) return real(AT_FDCWD, old, AT_FDCWD, new);
    size_t length = strlen(old) + 1;
    memcpy(both, old, length);
    memcpy(both + length, new, strlen(new) + 1);
    length += strlen(new) + 1;
    RECORDED(real(AT_FDCWD, old, AT_FDCWD, new), 'R', 0, 0, both, length);
}
int rename(const char *old, const char *new) { return renamed(AT_FDCWD, old, AT_FDCWD, new); }
int renameat(int from, const char *old, int to, const char *new) { return renamed(from, old, to, new); }

int unlinkat(int folder, const char *path, int flags) {
    char full[2 * PATH_MAX];
    path = absolute(folder, path, full);
    REAL(unlinkat);
    if (!is_under(path)) return real(AT_FDCWD, path, flags);
    RECORDED(real(AT_FDCWD, path, flags), 'U', 0, 0, path, strlen(path));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

/* What subscribers may hear from now on: recorded before it leaves. */
ssize_t send(int fd, const void *of, size_t size, int flags) {
    REAL(send);
    if (out < 0) return real(fd, of, size, flags);
    pthread_mutex_lock(&lock);
    ssize_t done = real(fd, of, size, flags);
    int error = errno;
    if (done > 0) record('E', (uint64_t)fd, 0, of, (uint64_t)done);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
