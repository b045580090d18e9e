/* Tries what a process that was taken over would try, and prints "what: outcome", a line each.
 *
 * Runs inside the unit's sandbox (sandbox.py puts it into /usr/lib, the one place besides the daemon
 * that may be executed), and outside of it as the same user, for comparison.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *what, long result) {
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "yes");
    fflush(stdout);
}

static void make(const char *path) {
    char what[128];
    snprintf(what, sizeof what, "write %s", path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    say(what, fd);
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
}

static void look(const char *path) {
    char what[128], byte;
    snprintf(what, sizeof what, "read %s", path);
    int fd = open(path, O_RDONLY);
    say(what, fd < 0 ? fd : read(fd, &byte, 1));
    if (fd >= 0) close(fd);
}

/* In a child, for what cannot be undone: its exit code is the errno. */
static void in_child(const char *what, long (*act)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(act() < 0 ? errno : 0);
    waitpid(child, &status, 0);
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EFAULT;
    say(what, errno == 0 ? 0 : -1);
}

static long shell(void) { return execl("/bin/sh", "sh", "-c", "true", (char *)NULL); }
static long new_users(void) { return unshare(CLONE_NEWUSER); }
static long new_mounts(void) { return unshare(CLONE_NEWUSER | CLONE_NEWNS); }
static long traced(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long other_person(void) { return personality(ADDR_NO_RANDOMIZE); }
static long host_name(void) { return sethostname("probe", 5); }
static long mounting(void) { return mount("none", "/tmp", "tmpfs", 0, NULL); }
static long clock_set(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return settimeofday(&now, NULL);
}
static long real_time(void) {
    struct sched_param most = {.sched_priority = 1};
    return sched_setscheduler(0, SCHED_FIFO, &most);
}
#ifdef __x86_64__
/* getpid, as a program of 32 bits calls it: by another number, at another entrance. */
static long old_call(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) errno = (int)-result;
    return result;
}
#endif
static long kill_others(void) { return kill(1, SIGHUP) < 0 ? -1 : 0; }

static void talk(const char *what, int family, int type, int protocol) {
    int fd = socket(family, type, protocol);
    say(what, fd);
    if (fd >= 0) close(fd);
}

int main(void) {
    if (geteuid() == 0) {
        fputs("not as root: it would do what it tries\n", stderr);
        return 1;
    }
    if (chdir("/") != 0) return 1;

    make("/etc/probe");
    make("/usr/probe");
    make("/var/lib/probe");
    make("/run/probe");
    make("/dev/shm/probe");
    make("/etc/wsfleetd/probe");
    make("/var/lib/wsfleetd/probe");
    make("/run/wsfleetd/probe");
    make("/tmp/probe");

    look("/home/secret");
    look("/root/secret");
    look("/etc/shadow");
    look("/proc/1/environ");
    look("/proc/meminfo");
    look("/proc/loadavg");
    look("/dev/kmsg");
    look("/etc/wsfleetd/wsfleetd.toml");

    talk("socket inet", AF_INET, SOCK_STREAM, 0);
    talk("socket inet6", AF_INET6, SOCK_STREAM, 0);
    talk("socket unix", AF_UNIX, SOCK_STREAM, 0);
    talk("socket netlink", AF_NETLINK, SOCK_RAW, 0);
    talk("socket packet", AF_PACKET, SOCK_RAW, 0);
    talk("socket vsock", AF_VSOCK, SOCK_STREAM, 0);
    talk("socket raw", AF_INET, SOCK_RAW, 1);

    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("memory made executable", mprotect(page, 4096, PROT_READ | PROT_EXEC));
    void *both = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    say("memory writable and executable", both == MAP_FAILED ? -1 : 0);

    in_child("run a shell", shell);
    in_child("new user namespace", new_users);
    in_child("new mount namespace", new_mounts);
    in_child("mount", mounting);
    in_child("be traced", traced);
    in_child("personality", other_person);
    in_child("host name", host_name);
    in_child("clock", clock_set);
    in_child("real-time scheduling", real_time);
    in_child("signal init", kill_others);
#ifdef __x86_64__
    in_child("32-bit system call", old_call);
#endif

    char own[] = "/tmp/probe-set";
    int fd = open(own, O_CREAT | O_WRONLY, 0600);
    say("set-user-id file", fd < 0 ? -1 : fchmod(fd, 04755));
    unlink(own);

    say("keyring", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -3, 0, 0, 0));
    char params[256] = {0};
    say("io_uring", syscall(SYS_io_uring_setup, 1, params));
    say("bpf", syscall(SYS_bpf, 0, params, sizeof params));
    return 0;
}
