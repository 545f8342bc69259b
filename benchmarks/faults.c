/* Lets one system call of this process fail: the n-th of those that are chosen and touch what lies below a folder.

   A seccomp filter traps the chosen calls, whatever made them (Python, LMDB, Rust, the C library's own buffers); the
   handler makes each call itself, or returns the error. Linux on x86-64 and arm64. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define MOST 64
#define MARK 0x6d6e656d65UL /* sixth argument of a call that is let through */

#if defined(__x86_64__)
#define RESULT(c) (c)->uc_mcontext.gregs[REG_RAX]
#define ARGUMENT(c, n) (c)->uc_mcontext.gregs[(int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8}[n]]
#elif defined(__aarch64__)
#define RESULT(c) (c)->uc_mcontext.regs[0]
#define ARGUMENT(c, n) (c)->uc_mcontext.regs[n]
#else
#error "no registers known"
#endif

static struct { int number, first, second; } calls[MOST]; /* which arguments are paths: > 0; a descriptor: 0; none: -1 */
static int chosen, failing, error;
static int count;
static char root[4096], told[8192];

static int is_below(const char *path) { return strstr(path, root) != NULL; }

/* A path that is relative to a folder's descriptor is told by that folder. */
static const char *named(ucontext_t *c, int argument, char *space) {
    const char *path = argument > 0 ? (const char *)ARGUMENT(c, argument - 1) : "";
    int folder = argument > 0 ? argument - 2 : 0;
    if (path[0] == '/' || folder < 0 || (int)ARGUMENT(c, folder) == AT_FDCWD) return path;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", (int)ARGUMENT(c, folder));
    long size = syscall(SYS_readlinkat, AT_FDCWD, link, space, 4095);
    space[size > 0 ? size : 0] = 0;
    return space;
}

static void trapped(int signal, siginfo_t *info, void *context) {
    ucontext_t *c = context;
    int call = info->si_syscall, place = 0, before = errno;
    char space[4096];
    (void)signal;
    while (place < chosen && calls[place].number != call) place++;
    const char *path = named(c, calls[place].first, space);
    int counted = is_below(path);
    if (!counted && calls[place].second > 0) counted = is_below(path = named(c, calls[place].second, space));
#ifdef SYS_open
    if (call == SYS_open && !(ARGUMENT(c, 1) & (O_WRONLY | O_RDWR | O_CREAT))) counted = 0;
#endif
    if (call == SYS_openat && !(ARGUMENT(c, 2) & (O_WRONLY | O_RDWR | O_CREAT))) counted = 0;
    if (counted && __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) == failing) {
        snprintf(told, sizeof told, "%d %s", call, path);
        RESULT(c) = -error;
    } else {
        long result = syscall(call, ARGUMENT(c, 0), ARGUMENT(c, 1), ARGUMENT(c, 2), ARGUMENT(c, 3), ARGUMENT(c, 4), MARK);
        RESULT(c) = result < 0 ? -errno : result;
    }
    errno = before;
}

/* Choose a call: which of its arguments are paths (from 1), or 0 for a descriptor that comes first. */
void choose(int number, int first, int second) {
    if (chosen < MOST) calls[chosen].number = number, calls[chosen].first = first, calls[chosen++].second = second;
}

int counted(void) { return count; }

const char *failed(void) { return told; }

/* Begin; the n-th call from now on fails with this error, none if n is 0. For good: a filter cannot be taken away. */
int arm(const char *below, int n, int number) {
    struct sigaction action = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
    struct sock_filter filter[3 * MOST + 8];
    int size = 0;
    snprintf(root, sizeof root, "%s", below);
    failing = n, error = number, count = 0;
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]) + 4);
    filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK >> 32, 0, 3);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5]));
    filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)MARK, 0, 1);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int place = 0; place < chosen; place++) {
        filter[size++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[place].number, 0, 1);
        filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    }
    filter[size++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = size, .filter = filter};
    if (sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}
