/*
 * Started as root: this process stays root and does nothing but start the daemon as another user and the helper processes
 * beside it, hand signals on to it, and start each again, the daemon later each time, when it ends without having been
 * asked to.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/internal.h"

#define FIRST_DELAY CLOCK_SECOND
#define LONGEST_DELAY (60 * CLOCK_SECOND)
#define LONG_LIFE (60 * CLOCK_SECOND) /* after which a daemon counts as healthy and the delay begins anew */

static _Noreturn void run_daemon(const struct conf *conf, struct helper_set *set, int ready)
{
	const struct helpers helpers = helpers_take(set);
	struct conf *own = NULL;
	enum err e;

	/* If the monitor is killed, nobody would hand on the signal that ends the daemon. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	e = daemon_become(conf->user);
	if (!e)
		e = conf_load(&own, conf->file);
	/* A change of user clears it. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (!e)
		e = daemon_serve(own, &helpers, ready);
	if (e)
		fprintf(stderr, "drydockd: %s\n", err_text());
	conf_free(own);
	_exit(daemon_status(e));
}

/* Wait for the daemon's end or a signal; signals are handed on. True: we were asked to end. */
static bool watch(pid_t child, struct helper_set *helpers, int *status)
{
	sigset_t set;
	bool asked = false;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGCHLD);
	for (;;) {
		int sig = sigwaitinfo(&set, NULL);

		if (sig == SIGTERM || sig == SIGINT || sig == SIGHUP) {
			asked |= sig != SIGHUP;
			(void)kill(child, sig);
		}
		if (waitpid(child, status, WNOHANG) == child)
			return asked;
		if (!asked)
			helpers_check(helpers);
	}
}

/* True if a signal that ends us came meanwhile. */
static bool pause_before_restart(int64_t us)
{
	const struct timespec t = { us / CLOCK_SECOND, us % CLOCK_SECOND * 1000 };
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	return sigtimedwait(&set, NULL, &t) > 0;
}

static bool has_answered(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1;
}

static enum err monitor(const struct conf *conf, struct helper_set *set, int *status)
{
	int64_t delay = FIRST_DELAY;
	bool answered = false;
	sigset_t child_signal;

	(void)sigemptyset(&child_signal);
	(void)sigaddset(&child_signal, SIGCHLD);
	for (;;) {
		int ready[2], ended = 0;
		int64_t started = clock_boot();
		pid_t child;
		bool asked;

		if (pipe2(ready, O_CLOEXEC | O_NONBLOCK))
			return err_sys(ERR_FAILED, "pipe");
		child = fork();
		if (child < 0) {
			(void)close(ready[0]);
			(void)close(ready[1]);
			return err_sys(ERR_FAILED, "fork");
		}
		if (!child) {
			(void)close(ready[0]);
			(void)pthread_sigmask(SIG_UNBLOCK, &child_signal, NULL);
			run_daemon(conf, set, ready[1]);
		}
		(void)close(ready[1]);
		asked = watch(child, set, &ended);
		answered |= has_answered(ready[0]);
		(void)close(ready[0]);
		*status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
		/* What never came up has said why, and would say it again. */
		if (asked || !*status || !answered)
			return ERR_OK;
		if (clock_boot() - started > LONG_LIFE)
			delay = FIRST_DELAY;
		log_event(LOG_LEVEL_ERROR, "monitor.restart", "status", log_u64((unsigned)*status), "seconds", log_u64((unsigned long long)(delay / CLOCK_SECOND)),
		    NULL);
		if (pause_before_restart(delay))
			return ERR_OK;
		delay = delay * 2 > LONGEST_DELAY ? LONGEST_DELAY : delay * 2;
	}
}

enum err daemon_monitor(const struct conf *conf, int *status)
{
	struct helper_set set = { .pam = { .pid = 0 } };
	sigset_t child_signal;
	enum err e;

	(void)sigemptyset(&child_signal);
	(void)sigaddset(&child_signal, SIGCHLD);
	(void)pthread_sigmask(SIG_BLOCK, &child_signal, NULL);
	e = helpers_start(&set, conf, true);
	if (!e)
		e = monitor(conf, &set, status);
	helpers_stop(&set);
	return e;
}
