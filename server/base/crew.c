#include "base/crew.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define CALL_PATIENCE 2 /* seconds that a call waits for room in the queue */
#define CHILDREN_LIMIT 256u

enum err crew_pair(int control[2])
{
	const struct timeval patience = { CALL_PATIENCE, 0 };

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control))
		return err_sys(ERR_FAILED, "socketpair");
	(void)setsockopt(control[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return ERR_OK;
}

/* --- the crew ------------------------------------------------------------------------------------------------------- */

static volatile sig_atomic_t asked_to_end;

static void on_signal(int sig)
{
	asked_to_end |= sig == SIGTERM;
}

struct children {
	pid_t list[CHILDREN_LIMIT];
	size_t n;
};

static bool is_ours(const struct children *ch, pid_t pid)
{
	for (size_t i = 0; i < ch->n; i++)
		if (ch->list[i] == pid)
			return true;
	return false;
}

/*
 * What a child started and left behind is ours when it has ended (we are its subreaper), whatever session it made for
 * itself: it goes with it.
 */
static void kill_orphans(const struct children *ch)
{
	char name[64], text[16384];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/self/task/%d/children", (int)getpid());
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (fd >= 0)
		(void)close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *p = text; *p;) {
		pid_t pid = (pid_t)strtol(p, &p, 10);

		if (pid > 1 && !is_ours(ch, pid))
			(void)kill(pid, SIGKILL);
		p += strspn(p, " ");
	}
}

static void reap(const struct crew *c, struct children *ch)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		ended = true;
		if (!is_ours(ch, pid))
			continue;
		if (WIFSIGNALED(status))
			log_event(LOG_LEVEL_WARN, "crew.killed", "crew", c->name, "signal", log_u64((unsigned)WTERMSIG(status)), "why",
			    WTERMSIG(status) == SIGKILL ? "it did not come to an end in its time" : "it crashed", NULL);
		for (size_t i = 0; i < ch->n; i++)
			if (ch->list[i] == pid)
				ch->list[i] = ch->list[--ch->n];
	}
	if (ended)
		kill_orphans(ch);
}

/* The descriptor that a message brings; -1: none; -2: no caller is left. */
static int next_call(int control)
{
	char byte, space[CMSG_SPACE(sizeof(int))];
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	ssize_t n = recvmsg(control, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	int fd = -1;

	if (n == 0)
		return -2;
	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(h), sizeof(fd));
	return fd;
}

static _Noreturn void run_child(const struct crew *c, int control, int fd, const sigset_t *mask)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };

	(void)close(control);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sigaction(SIGCHLD, &plain, NULL);
	(void)sigaction(SIGTERM, &plain, NULL);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	c->work(fd, c->arg);
	_exit(0);
}

static void start_child(const struct crew *c, struct children *ch, int control, int fd, const sigset_t *mask)
{
	pid_t pid = fork();

	if (!pid)
		run_child(c, control, fd, mask);
	if (pid < 0)
		log_event(LOG_LEVEL_ERROR, "crew.fork", "crew", c->name, "why", strerror(errno), NULL);
	else
		ch->list[ch->n++] = pid;
	(void)close(fd);
}

_Noreturn void crew_run(const struct crew *c, int control)
{
	struct sigaction a = { .sa_handler = on_signal };
	const struct timespec second = { 1, 0 };
	struct children ch = { .n = 0 };
	const size_t most = c->most < CHILDREN_LIMIT ? c->most : CHILDREN_LIMIT;
	sigset_t block, wait_mask, none;
	bool over = false;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "drydock-crew");
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	/* PAM modules and their programs read and write there. */
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)close(null);
	}
	(void)sigemptyset(&none);
	(void)sigfillset(&block);
	(void)sigprocmask(SIG_SETMASK, &block, NULL);
	(void)sigaction(SIGCHLD, &a, NULL);
	(void)sigaction(SIGTERM, &a, NULL);
	wait_mask = block;
	(void)sigdelset(&wait_mask, SIGCHLD);
	(void)sigdelset(&wait_mask, SIGTERM);
	while (!asked_to_end && !(over && !ch.n)) {
		struct pollfd p = { .fd = over || ch.n >= most ? -1 : control, .events = POLLIN };

		if (ppoll(&p, 1, &second, &wait_mask) > 0 && p.revents) {
			int fd = next_call(control);

			over |= fd == -2;
			if (fd >= 0)
				start_child(c, &ch, control, fd, &none);
		}
		reap(c, &ch);
	}
	for (size_t i = 0; i < ch.n; i++)
		(void)kill(ch.list[i], SIGKILL);
	/* Until nothing is left, or nothing but what cannot be killed. */
	for (int i = 0; i < 100 && (ch.n || waitpid(-1, NULL, WNOHANG) >= 0); i++) {
		reap(c, &ch);
		clock_sleep(CLOCK_SECOND / 100);
	}
	_exit(0);
}

enum err crew_fork(const struct crew *c, const int control[2], enum err (*become)(const char *user), const char *user, pid_t *pid)
{
	*pid = fork();
	if (*pid < 0)
		return err_sys(ERR_FAILED, "fork");
	if (*pid)
		return ERR_OK;
	(void)close(control[0]);
	if (user && become(user)) {
		log_event(LOG_LEVEL_ERROR, "crew.user", "crew", c->name, "why", err_text(), NULL);
		_exit(1);
	}
	crew_run(c, control[1]);
}

void crew_deadline(int64_t us)
{
	static timer_t timer;
	static bool there;
	/* SIGKILL from the kernel's timer: nothing that runs in this process can block or forget it. */
	struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	const struct itimerspec t = { .it_value = { us / CLOCK_SECOND, us % CLOCK_SECOND * 1000 } };

	if (!there && timer_create(CLOCK_MONOTONIC, &e, &timer))
		_exit(1); /* without an end it does not begin */
	there = true;
	if (timer_settime(timer, 0, &t, NULL))
		_exit(1);
}

/* --- the caller ----------------------------------------------------------------------------------------------------- */

enum err crew_call(int control, int *fd)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec v = { (void *)(uintptr_t)"c", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	int pair[2];
	ssize_t n;

	*fd = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return err_sys(ERR_FAILED, "socketpair");
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &pair[1], sizeof(int));
	do
		n = sendmsg(control, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	(void)close(pair[1]);
	if (n != 1) {
		enum err e = err_sys(ERR_BUSY, "the helper process cannot be reached");
		(void)close(pair[0]);
		return e;
	}
	*fd = pair[0];
	return ERR_OK;
}

/* Wait until the socket is ready; false when the time is over. */
static bool ready(int fd, short events, int64_t until)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = until ? until - clock_boot() : 3600 * CLOCK_SECOND;
		int n;

		if (left <= 0)
			return false;
		n = poll(&p, 1, left > 3600 * CLOCK_SECOND ? 3600000 : (int)((left + 999) / 1000));
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return true; /* the call that follows says what is wrong */
	}
}

/* Exactly n bytes either way. */
static enum err move(int fd, char *p, size_t n, bool out, int64_t until)
{
	while (n) {
		ssize_t done;

		if (!ready(fd, out ? POLLOUT : POLLIN, until))
			return err_set(ERR_BUSY, "the helper process did not answer in time");
		done = out ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);
		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done <= 0)
			return err_set(ERR_FAILED, "the helper process has ended");
		p += done;
		n -= (size_t)done;
	}
	return ERR_OK;
}

enum err crew_send(int fd, const void *p, size_t n, int64_t until)
{
	char head[4] = { (char)(n & 255), (char)(n >> 8 & 255), (char)(n >> 16 & 255), (char)(n >> 24 & 255) };
	enum err e;

	if (n > CREW_MESSAGE)
		return err_set(ERR_TOO_BIG, "a message to the helper process is too long");
	e = move(fd, head, sizeof(head), true, until);
	return e ? e : move(fd, (char *)(uintptr_t)p, n, true, until);
}

enum err crew_receive(int fd, struct buf *out, int64_t until)
{
	unsigned char head[4];
	enum err e = move(fd, (char *)head, sizeof(head), false, until);
	size_t n;

	buf_reset(out);
	if (e)
		return e;
	n = (size_t)head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
	if (n > CREW_MESSAGE || n > out->limit)
		return err_set(ERR_TOO_BIG, "an answer of the helper process is too long");
	while (n && !e) {
		char piece[8192];
		size_t take = n < sizeof(piece) ? n : sizeof(piece);

		e = move(fd, piece, take, false, until);
		if (!e)
			buf_add(out, piece, take);
		explicit_bzero(piece, take);
		n -= take;
	}
	return e ? e : buf_check(out);
}
