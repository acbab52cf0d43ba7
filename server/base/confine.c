/*
 * What is confined here: a kit, which reads the system, its own file, the export and the release files, and writes to its
 * target's place and its work directory only; and readers of hostile documents, which write nothing at all.
 */
#include <asm/sockios.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/weaken.h"

#define IOPRIO_PROCESS 1 /* has no header in libc */

#define FILE_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define READ (FILE_READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_WRITE (FILE_READ | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define WRITE_1 \
	(READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO)
#define HANDLED_1 (WRITE_1 | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static const struct confine_path SYSTEM[] = {
	{ "/usr", false }, { "/bin", false }, { "/sbin", false }, { "/lib", false }, { "/lib32", false }, { "/lib64", false }, { "/etc", false },
	{ "/dev/null", true }, { "/dev/zero", false }, { "/dev/urandom", false }, { "/dev/random", false },
};

static enum err allow(int set, const struct confine_path *p, uint64_t rename)
{
	struct landlock_path_beneath_attr rule;
	struct stat st;
	enum err e = ERR_OK;
	int fd = open(p->path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? ERR_OK : err_sys(ERR_FAILED, "%s", p->path);
	if (fstat(fd, &st)) {
		e = err_sys(ERR_FAILED, "%s", p->path);
		goto out;
	}
	rule.parent_fd = fd;
	if (S_ISDIR(st.st_mode))
		rule.allowed_access = p->write ? WRITE_1 | rename : READ;
	else
		rule.allowed_access = p->write ? FILE_WRITE : FILE_READ;
	if (syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &rule, 0))
		e = err_sys(ERR_FAILED, "Confining a program to %s", p->path);
out:
	(void)close(fd);
	return e;
}

enum err confine_open(const struct confine_path *paths, size_t n, int *fd)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = HANDLED_1 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	uint64_t rename = 0;
	int set;
	enum err e = ERR_OK;

	*fd = -1;
	/* Not built in, or switched off. */
	if (abi < 1)
		return ERR_OK;
	/* Before version 2 no file can be moved to another directory, whatever the rules. */
	if (abi >= 2)
		rename = LANDLOCK_ACCESS_FS_REFER;
	attr.handled_access_fs |= rename;
	set = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (set < 0)
		return err_sys(ERR_FAILED, "Confining a program");
	for (size_t i = 0; i < sizeof(SYSTEM) / sizeof(*SYSTEM) && !e; i++)
		e = allow(set, &SYSTEM[i], rename);
	for (size_t i = 0; i < n && !e; i++)
		e = allow(set, &paths[i], rename);
	if (e)
		(void)close(set);
	else
		*fd = set;
	return e;
}

/* In the child. If it fails the program must not run: the exit ends it before exec. */
void confine_self(void *arg)
{
	int fd = *(int *)arg;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_exit(126);
	if (fd >= 0 && syscall(SYS_landlock_restrict_self, fd, 0))
		_exit(126);
}

/* --- readers of hostile documents ----------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

#ifdef OUR_ARCH
/* Calls of this architecture only, and not of x86-64's other numbering; their number is loaded then. */
#define OUR_NUMBERS \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0), \
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), \
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS)
#define REFUSE(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

/* What is not refused is allowed: libraries differ in what they use, and files are landlock's matter. */
static struct sock_filter FILTER[] = {
	OUR_NUMBERS,
	REFUSE(SYS_socket),
	REFUSE(SYS_socketpair),
	REFUSE(SYS_kill),
	REFUSE(SYS_tkill),
	REFUSE(SYS_tgkill),
	REFUSE(SYS_rt_sigqueueinfo),
	REFUSE(SYS_rt_tgsigqueueinfo),
	REFUSE(SYS_pidfd_open),
	REFUSE(SYS_ptrace),
	REFUSE(SYS_process_vm_readv),
	REFUSE(SYS_process_vm_writev),
	REFUSE(SYS_io_uring_setup),
	REFUSE(SYS_bpf),
	REFUSE(SYS_userfaultfd),
	REFUSE(SYS_perf_event_open),
	REFUSE(SYS_add_key),
	REFUSE(SYS_keyctl),
	REFUSE(SYS_unshare),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static const struct sock_fprog PROGRAM = { sizeof FILTER / sizeof *FILTER, FILTER };
#endif

static void limit(int what, uint64_t most)
{
	const struct rlimit l = { most, most };

	if (setrlimit((__rlimit_resource_t)what, &l))
		_exit(126);
}

/* --- kits ------------------------------------------------------------------------------------------------------------ */

enum err confine_kit_open(struct confine_kit *c, const struct confine_path *paths, size_t n)
{
	int pair[2];
	enum err e;

	*c = (struct confine_kit){ .rules = -1, .ours = -1, .theirs = -1 };
	e = confine_open(paths, n, &c->rules);
	if (e)
		return e;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair))
		return err_sys(ERR_FAILED, "Confining a program");
	c->ours = pair[0];
	c->theirs = pair[1];
	return ERR_OK;
}

void confine_kit_close(struct confine_kit *c)
{
	const int fds[] = { c->rules, c->ours, c->theirs };

	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	*c = (struct confine_kit){ .rules = -1, .ours = -1, .theirs = -1 };
}

/* One descriptor, over a socket. */
union passing {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int))];
};

#ifdef OUR_ARCH
#define LOAD_ARG(n) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[n]))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define IS(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), (then), (otherwise))
/* 0 means the caller itself, or its group: it may. */
#define ASK_BUT_0(nr) IS((nr), 0, 4), LOAD_ARG(0), IS(0, 0, 1), RETURN(SECCOMP_RET_ALLOW), RETURN(ask)
#define ASK(nr) IS((nr), 0, 1), RETURN(ask)

static int filter_kit(uint32_t ask, unsigned flags)
{
	/* On the stack of a child that shares our memory: nothing else may be written. */
	struct sock_filter filter[] = {
		OUR_NUMBERS,
		REFUSE(SYS_setsid),
		/* What it opened would have to be looked at, by then something else perhaps. */
		REFUSE(SYS_pidfd_send_signal),
		/* Who is in another process can do anything there. Landlock refuses them too, where the kernel has it. */
		REFUSE(SYS_ptrace),
		REFUSE(SYS_process_vm_readv),
		REFUSE(SYS_process_vm_writev),
		REFUSE(SYS_pidfd_getfd),
		ASK_BUT_0(SYS_kill),
		ASK(SYS_tkill),
		ASK(SYS_tgkill),
		ASK(SYS_rt_sigqueueinfo),
		ASK(SYS_rt_tgsigqueueinfo),
		ASK_BUT_0(SYS_prlimit64),
		ASK_BUT_0(SYS_sched_setparam),
		ASK_BUT_0(SYS_sched_setscheduler),
		ASK_BUT_0(SYS_sched_setaffinity),
		ASK_BUT_0(SYS_sched_setattr),
		ASK(SYS_setpriority),
		ASK(SYS_ioprio_set),
		/* Who gets the signal of a descriptor: any signal, by another call. */
		IS(SYS_fcntl, 0, 5), LOAD_ARG(1), IS(F_SETOWN, 1, 0), IS(F_SETOWN_EX, 0, 1), RETURN(SECCOMP_RET_ERRNO | EPERM), RETURN(SECCOMP_RET_ALLOW),
		IS(SYS_ioctl, 0, 4), LOAD_ARG(1), IS(FIOSETOWN, 1, 0), IS(SIOCSPGRP, 0, 1), RETURN(SECCOMP_RET_ERRNO | EPERM),
		RETURN(SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}
#endif

void confine_kit(void *c_)
{
	struct confine_kit *c = c_;

	confine_self(&c->rules);
	/* Should we be killed, it ends too: the next daemon starts another one at that place. Our thread waits for it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(126);
#ifdef OUR_ARCH
	if (WEAK(kit_signals))
		return;
	union passing out = { .bytes = { 0 } };
	struct iovec byte = { (char[]){ 0 }, 1 };
	struct msghdr m = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = out.bytes, .msg_controllen = sizeof out.bytes };
	int fd = filter_kit(SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);

	/* Somebody outside of us listens already (a container), or nobody can. EINVAL: this kernel has no filters. */
	if (fd < 0 && filter_kit(SECCOMP_RET_ERRNO | EPERM, 0) && errno != EINVAL)
		_exit(126);
	if (fd < 0)
		return;
	*CMSG_FIRSTHDR(&m) = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
	*(int *)(void *)CMSG_DATA(CMSG_FIRSTHDR(&m)) = fd;
	if (sendmsg(c->theirs, &m, MSG_NOSIGNAL) != 1)
		_exit(126);
#endif
}

int confine_kit_watch(void *c_)
{
	struct confine_kit *c = c_;
	union passing in = { .bytes = { 0 } };
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = in.bytes, .msg_controllen = sizeof in.bytes };
	struct cmsghdr *h;

	/* Sent before it became the kit, or never. */
	if (recvmsg(c->ours, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != 1)
		return -1;
	h = CMSG_FIRSTHDR(&m);
	return h && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)) ? *(int *)(void *)CMSG_DATA(h) : -1;
}

/* 0, or the error that the caller gets. */
static int in_session(pid_t pid, pid_t leader)
{
	const pid_t session = getsid(pid);

	return session == leader ? 0 : session < 0 ? -ESRCH : -EPERM;
}

/* A session holds whole groups: one member tells. */
static int group_in_session(pid_t group, pid_t leader)
{
	DIR *proc = opendir("/proc");
	int found = -ESRCH;

	for (struct dirent *d; found == -ESRCH && proc && (d = readdir(proc));) {
		const pid_t pid = d->d_name[0] < '1' || d->d_name[0] > '9' ? 0 : (pid_t)strtol(d->d_name, NULL, 10);

		if (pid && getpgid(pid) == group)
			found = in_session(pid, leader);
	}
	if (proc)
		(void)closedir(proc);
	return found;
}

/* The arguments are numbers in registers, which nobody can change after we have looked. */
static int judge(const struct seccomp_data *d, pid_t leader)
{
	const pid_t first = (pid_t)d->args[0], second = (pid_t)d->args[1];

	switch (d->nr) {
	case SYS_kill:
		/* -INT_MIN is no number of a group, nor of anything. */
		if (first == INT_MIN)
			return -ESRCH;
		return first > 0 ? in_session(first, leader) : first < -1 ? group_in_session(-first, leader) : -EPERM;
	case SYS_setpriority:
		return first != PRIO_PROCESS ? -EPERM : second ? in_session(second, leader) : 0;
	case SYS_ioprio_set:
		return first != IOPRIO_PROCESS ? -EPERM : second ? in_session(second, leader) : 0;
	default:
		return first > 0 ? in_session(first, leader) : -EPERM;
	}
}

void confine_kit_answer(void *c, int listener, pid_t leader)
{
	/* The kernel's may grow. */
	union {
		struct seccomp_notif it;
		char most[512];
	} asked;
	union {
		struct seccomp_notif_resp it;
		char most[512];
	} answer;
	int refused;

	(void)c;
	memset(&asked, 0, sizeof asked);
	memset(&answer, 0, sizeof answer);
	/* Who asked may have been ended by now. */
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked))
		return;
	refused = judge(&asked.it.data, leader);
	answer.it.id = asked.it.id;
	answer.it.error = refused;
	answer.it.flags = refused ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	(void)ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

void confine_able(struct confine_able *out)
{
	*out = (struct confine_able){ .files = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) >= 1 };
#ifdef OUR_ARCH
	const uint32_t ask = SECCOMP_RET_USER_NOTIF;

	out->processes = !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &ask);
#endif
}

/* --- readers ----------------------------------------------------------------------------------------------------------- */

void confine_reader(void *reader)
{
	struct confine_reader *c = reader;

	limit(RLIMIT_AS, c->memory);
	limit(RLIMIT_CPU, c->seconds);
	limit(RLIMIT_FSIZE, 0);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NPROC, 0);
	confine_self(&c->fd);
#ifdef OUR_ARCH
	/* A kernel without it says EINVAL; landlock and the limits hold all the same. */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &PROGRAM) && errno != EINVAL)
		_exit(126);
#endif
}
