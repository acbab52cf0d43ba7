/* The helper processes: PAM as root, NSS as the daemon's user. Forked while there is one thread. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/internal.h"

#define SHORTEST_LIFE CLOCK_SECOND /* one that ends sooner is not started again at once */

static enum err start(struct helper *h)
{
	h->started = clock_boot();
	return crew_fork(&h->crew, h->control, daemon_become, h->user, &h->pid);
}

static enum err prepare(struct helper *h, const char *name, unsigned most, void (*work)(int fd, void *arg), void *arg, const char *user)
{
	enum err e;

	h->crew = (struct crew){ .name = name, .most = most, .work = work, .arg = arg };
	h->user = user;
	e = crew_pair(h->control);
	return e ? e : start(h);
}

enum err helpers_start(struct helper_set *set, const struct conf *conf, bool root)
{
	enum err e = ERR_OK;

	*set = (struct helper_set){ .service = { conf->pam_service, conf->password_deadline_us }, .nss_deadline_us = conf->nss_deadline_us };
	if (root)
		e = prepare(&set->pam, "pam", PAM_CHILDREN, pam_work, &set->service, NULL);
	if (!e)
		e = prepare(&set->nss, "nss", NSS_CHILDREN, nss_work, &set->nss_deadline_us, root ? conf->user : NULL);
	return e;
}

static void check(struct helper *h)
{
	int status;

	if (h->pid <= 0 || waitpid(h->pid, &status, WNOHANG) != h->pid)
		return;
	log_event(LOG_LEVEL_ERROR, "monitor.helper", "helper", h->crew.name, "why", "it ended; it is started again", NULL);
	if (clock_boot() - h->started < SHORTEST_LIFE)
		clock_sleep(SHORTEST_LIFE);
	if (start(h)) {
		log_event(LOG_LEVEL_ERROR, "monitor.helper", "helper", h->crew.name, "why", err_text(), NULL);
		h->pid = 0;
	}
}

void helpers_check(struct helper_set *set)
{
	check(&set->pam);
	check(&set->nss);
}

static void close_crew_end(struct helper *h)
{
	if (h->control[1] > 0)
		(void)close(h->control[1]);
	h->control[1] = 0;
}

struct helpers helpers_take(struct helper_set *set)
{
	close_crew_end(&set->pam);
	close_crew_end(&set->nss);
	return (struct helpers){ set->pam.control[0], set->nss.control[0] };
}

static void end(struct helper *h)
{
	if (h->pid <= 0)
		return;
	(void)kill(h->pid, SIGTERM);
	while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
		;
	h->pid = 0;
}

void helpers_stop(struct helper_set *set)
{
	end(&set->pam);
	end(&set->nss);
}

enum err daemon_serve_alone(struct conf *conf)
{
	struct helper_set set;
	enum err e = helpers_start(&set, conf, false);

	if (!e) {
		const struct helpers h = helpers_take(&set);

		e = daemon_serve(conf, &h, -1);
	}
	helpers_stop(&set);
	return e;
}
