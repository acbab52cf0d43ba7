/*
 * What is confined here: a kit, which reads the system, its own file, the export and the release files, and writes to its
 * target's place and its work directory only; and readers of hostile documents, which write nothing at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/confine.h"
#include "base/weaken.h"

#define FILE_READ (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define READ (FILE_READ | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_WRITE (FILE_READ | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define WRITE_1 \
	(READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | \
	    LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO)
#define HANDLED_1 (WRITE_1 | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)

static const struct confine_path SYSTEM[] = {
	{ "/usr", false }, { "/bin", false }, { "/sbin", false }, { "/lib", false }, { "/lib32", false }, { "/lib64", false }, { "/etc", false },
	{ "/dev/null", true }, { "/dev/zero", false }, { "/dev/urandom", false }, { "/dev/random", false }, { "/proc/self", false },
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

#ifdef OUR_ARCH
/* The low half of the first argument: pids are 32 bits. */
#define LOAD_PID BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]))
#define REFUSE_IF(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define TO_PIDS(nr, left) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), (left), 0)
#endif

void confine_kit(void *fd)
{
	confine_self(fd);
	/* Should we be killed, it ends too: the next daemon starts another one at that place. Our thread waits for it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(126);
#ifdef OUR_ARCH
	if (WEAK(kit_signals))
		return;
	const pid_t us = getppid(), group = getpgid(us);
	/* Made here, since it names our process; on the child's stack, since nothing else may be written. */
	struct sock_filter filter[] = {
		OUR_NUMBERS,
		REFUSE(SYS_setsid),
		/* Of one thread of ours, whose numbers nobody lists here; programs use tgkill. */
		REFUSE(SYS_tkill),
		TO_PIDS(SYS_kill, 5),
		TO_PIDS(SYS_tgkill, 4),
		TO_PIDS(SYS_rt_sigqueueinfo, 3),
		TO_PIDS(SYS_rt_tgsigqueueinfo, 2),
		TO_PIDS(SYS_pidfd_open, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		LOAD_PID,
		REFUSE_IF(us),
		REFUSE_IF(-group),
		REFUSE_IF(-1), /* everybody */
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(filter) / sizeof(*filter), filter };

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) && errno != EINVAL)
		_exit(126);
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
