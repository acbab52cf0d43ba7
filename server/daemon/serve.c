/* drydockd serve: open, run, close. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/confine.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "check/keeper.h"
#include "daemon/datadir.h"
#include "daemon/internal.h"
#include "notice/notice.h"
#include "sync/sync.h"
#include "web/web.h"

#define JANITOR_INTERVAL (60 * CLOCK_SECOND)

struct serve {
	struct conf *conf;
	const struct helpers *helpers;
	struct installation *in;
	struct sync **syncs;
	struct notice **notices;
	struct web *web;
	struct keeper *keeper;
	struct turns_kept turns; /* while the installation is opened again */
	struct turn_keeper *turn_keeper; /* NULL: there are no other servers */
	char *socket;
	pthread_t janitor;
	bool janitor_runs;
	pthread_mutex_t lock; /* around stop */
	pthread_cond_t wake;
	bool stop;
};

static void wanted_signals(sigset_t *set)
{
	(void)sigemptyset(set);
	(void)sigaddset(set, SIGTERM);
	(void)sigaddset(set, SIGINT);
	(void)sigaddset(set, SIGHUP);
}

void daemon_signals(void)
{
	sigset_t set;
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	wanted_signals(&set);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)sigaction(SIGPIPE, &ignore, NULL);
}

/* What an act could not carry out, because the disk was full or the database away, is done as soon as it can be. */
static void carry_out(struct site *site, struct actor_tools *tools)
{
	if (!site->read_only && site_carry(site, tools))
		log_event(LOG_LEVEL_WARN, "site.pending", "site", site->name, "why", err_text(), NULL);
}

static void maintain(struct site *site, struct actor_tools *tools)
{
	if (site_maintain(site, tools))
		log_event(LOG_LEVEL_WARN, "site.maintain.failed", "site", site->name, "why", err_text(), NULL);
}

/* --- once a minute ---------------------------------------------------------------------------------------------------- */

static void *janitor(void *arg)
{
	struct serve *s = arg;
	struct actor_tools *tools = tools_new(&s->in->program);

	(void)pthread_mutex_lock(&s->lock);
	while (!s->stop) {
		struct timespec until;

		clock_deadline(JANITOR_INTERVAL, &until);
		while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
			;
		if (s->stop)
			break;
		(void)pthread_mutex_unlock(&s->lock);
		if (auth_housekeeping(s->in->auth, tools_db(tools)))
			log_event(LOG_LEVEL_WARN, "housekeeping.failed", "why", err_text(), NULL);
		if (db_event_expire(tools_db(tools), clock_wall() - s->conf->event_keep_us))
			log_event(LOG_LEVEL_WARN, "events.expire.failed", "why", err_text(), NULL);
		carry_out(s->in->self, tools);
		for (size_t i = 0; i < s->in->n_sites; i++)
			carry_out(s->in->sites[i], tools);
		maintain(s->in->self, tools);
		for (size_t i = 0; i < s->in->n_sites; i++)
			maintain(s->in->sites[i], tools);
		(void)pthread_mutex_lock(&s->lock);
	}
	(void)pthread_mutex_unlock(&s->lock);
	tools_free(tools);
	return NULL;
}

/* --- reading the configuration again ---------------------------------------------------------------------------------- */

static void set_log_level(const char *name)
{
	static const char *const NAMES[] = { "debug", "info", "warn", "error" };

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++)
		if (!strcmp(name, NAMES[i]))
			log_level_set((enum log_level)i);
}

static void changed_option(void *arg, const char *option, bool reload)
{
	(void)arg;
	if (reload)
		log_event(LOG_LEVEL_INFO, "conf.reloaded", "option", option, NULL);
	else
		log_event(LOG_LEVEL_WARN, "conf.needs_restart", "option", option, NULL);
}

static void reload(struct serve *s)
{
	struct conf *now = NULL;

	if (conf_load(&now, s->conf->file)) {
		log_event(LOG_LEVEL_ERROR, "conf.refused", "why", err_text(), NULL);
		return;
	}
	conf_compare(s->conf, now, changed_option, NULL);
	set_log_level(now->log_level);
	for (size_t i = 0; i < s->in->n_sites; i++) {
		const struct conf_site *cs = conf_site(now, s->in->sites[i]->name);

		if (cs)
			sync_set_periods(s->syncs[i], cs->quiet_us, cs->longest_us);
	}
	conf_free(now);
}

/* --- the local socket ------------------------------------------------------------------------------------------------- */

/* We hold the data directory's lock, so whatever socket is there is a leftover. */
static enum err clear_socket(const char *name)
{
	if (sys_unlink(AT_FDCWD, name, 0) && errno != ENOENT)
		return err_sys(ERR_FAILED, "%s", name);
	return ERR_OK;
}

/* --- checks ------------------------------------------------------------------------------------------------------------ */

static enum err reload_rows(void *site, struct db *db, const struct path *strayed, size_t n)
{
	return site_reload(site, db, strayed, n);
}

static struct check_place place_of(const struct installation *in, struct site *s)
{
	return (struct check_place){ .name = s->name, .dir = s->dir, .repo_dir = s->repo_dir, .key = in->key, .export = s->export,
		.writer = &s->writer, .export_held = &s->export_held, .export_behind = &s->export_behind,
		.reload = reload_rows, .reload_arg = s, .release_keep = s->conf ? s->conf->release_keep : 0, .grants = in->private != NULL };
}

/* What another server writes is checked there. */
static enum err start_keeper(struct serve *s)
{
	struct check_place *places = mem_array(s->in->n_sites + 1, sizeof(*places));
	const char **elsewhere = mem_array(s->in->n_sites + 1, sizeof(*elsewhere));
	struct keeper_options o = { .data = s->conf->data, .database = &s->in->program, .places = places, .elsewhere = elsewhere,
		.hour = s->conf->check_hour };
	enum err e;

	for (size_t i = 0; i <= s->in->n_sites; i++) {
		struct site *site = i ? s->in->sites[i - 1] : s->in->self;

		if (site->waits)
			elsewhere[o.n_elsewhere++] = site->name;
		else
			places[o.n_places++] = place_of(s->in, site);
	}
	e = keeper_start(&s->keeper, &o);
	free(places);
	free(elsewhere);
	return e;
}

/* --- run ------------------------------------------------------------------------------------------------------------- */

static enum err start(struct serve *s)
{
	struct web_site *sites;
	struct web_options o;
	enum err e;

	e = installation_open(&s->in, s->conf, s->helpers, &s->turns);
	if (e)
		return e;
	s->syncs = mem_array(s->in->n_sites + 1, sizeof(struct sync *));
	s->notices = mem_array(s->in->n_sites + 1, sizeof(struct notice *));
	sites = mem_array(s->in->n_sites + 1, sizeof(*sites));
	for (size_t i = 0; i < s->in->n_sites; i++) {
		e = sync_start(&s->syncs[i], s->conf, s->in->sites[i], &s->in->program);
		if (e) {
			free(sites);
			return err_prefix(e, "site %s: the scheduler", s->in->sites[i]->name);
		}
		e = notice_start(&s->notices[i], s->conf, s->in->sites[i]->conf, s->syncs[i], &s->in->program);
		if (e) {
			free(sites);
			return err_prefix(e, "site %s: messages", s->in->sites[i]->name);
		}
		sites[i] = (struct web_site){ s->in->sites[i], s->syncs[i] };
	}
	s->socket = mem_printf("%s/" DATADIR_SOCKET, s->conf->data);
	e = clear_socket(s->socket);
	FAILPOINT_OR(e, serve_socket_cleared);
	if (!e)
		e = start_keeper(s);
	if (!e) {
		o = (struct web_options){ .conf = s->conf, .auth = s->in->auth, .installation = s->in->self, .sites = sites, .n_sites = s->in->n_sites,
			.key = s->in->key, .database = &s->in->program, .socket = s->socket, .keeper = s->keeper };
		e = web_start(&s->web, &o);
	}
	free(sites);
	if (e)
		return e;
	/* The main thread has done its part: its connection would only idle. */
	tools_free(s->in->tools);
	s->in->tools = NULL;
	clock_cond_init(&s->wake);
	if (pthread_create(&s->janitor, NULL, janitor, s))
		return err_set(ERR_FAILED, "A thread cannot be started");
	s->janitor_runs = true;
	if (s->in->heart && (e = turn_keeper_start(&s->turn_keeper, s->in, s->syncs)))
		return e;
	FAILPOINT(serve_started);
	return ERR_OK;
}

/* again: it will be opened at once. */
static void stop(struct serve *s, bool again)
{
	FAILPOINT(stop_begun);
	turn_keeper_stop(s->turn_keeper);
	if (s->web)
		web_stop(s->web);
	FAILPOINT(stop_web_closed);
	keeper_stop(s->keeper);
	if (s->janitor_runs) {
		(void)pthread_mutex_lock(&s->lock);
		s->stop = true;
		(void)pthread_cond_broadcast(&s->wake);
		(void)pthread_mutex_unlock(&s->lock);
		(void)pthread_join(s->janitor, NULL);
	}
	for (size_t i = 0; s->notices && i < s->in->n_sites; i++)
		notice_stop(s->notices[i]);
	free(s->notices);
	if (s->syncs)
		for (size_t i = 0; i < s->in->n_sites; i++)
			if (s->syncs[i])
				sync_stop(s->syncs[i]);
	FAILPOINT(stop_syncs_ended);
	free(s->syncs);
	if (s->socket && s->web)
		(void)sys_unlink(AT_FDCWD, s->socket, 0);
	free(s->socket);
	if (s->in)
		s->in->turns_borrowed = again;
	installation_close(s->in);
	if (!again && !s->in)
		turns_kept_free(&s->turns);
	s->turn_keeper = NULL;
	s->web = NULL;
	s->keeper = NULL;
	s->janitor_runs = s->stop = false;
	s->notices = NULL;
	s->syncs = NULL;
	s->socket = NULL;
	s->in = NULL;
}

/*
 * The turn of a site came or went: what was opened for reading is opened for writing, or the other way round, by the same
 * way as at a start. False: a signal to end came meanwhile.
 */
static bool open_again(struct serve *s, const sigset_t *set)
{
	const struct timespec pause = { 2, 0 };

	log_event(LOG_LEVEL_WARN, "serve.again", NULL);
	stop(s, true);
	while (start(s)) {
		int sig;

		log_event(LOG_LEVEL_ERROR, "serve.again.failed", "why", err_text(), NULL);
		/* Somebody else may be able to. */
		if (s->in)
			s->in->not_opened = true;
		stop(s, true);
		sig = sigtimedwait(set, NULL, &pause);
		if (sig == SIGTERM || sig == SIGINT)
			return false;
	}
	log_event(LOG_LEVEL_INFO, "serve.ready", NULL);
	return true;
}

/* What shuts kits in, by what this kernel has. */
static void say_confinement(void)
{
	struct confine_able able;

	confine_able(&able);
	log_event(able.files && able.processes ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "kits.confined", "files", able.files ? "yes" : "no: this kernel has no landlock",
	    "processes", able.processes ? "yes" : "no: this kernel cannot ask who may be sent a signal", NULL);
}

enum err daemon_serve(struct conf *conf, const struct helpers *helpers, int ready)
{
	struct serve s = { .conf = conf, .helpers = helpers, .lock = PTHREAD_MUTEX_INITIALIZER };
	const struct timespec second = { 1, 0 };
	bool database_down = false;
	sigset_t set;
	enum err e;

	set_log_level(conf->log_level);
	e = start(&s);
	if (e) {
		char *why = mem_dup(err_text());

		stop(&s, false);
		(void)err_set(e, "%s", why);
		free(why);
		return e;
	}
	say_confinement();
	log_event(LOG_LEVEL_INFO, "serve.ready", "address", conf->address, "port", log_u64(conf->port), "data", conf->data, "sites",
	    log_u64(conf->n_sites), NULL);
	if (ready >= 0) {
		if (write(ready, "r", 1) != 1)
			log_event(LOG_LEVEL_WARN, "serve.ready.untold", NULL);
		(void)close(ready);
	}
	wanted_signals(&set);
	for (;;) {
		int sig = sigtimedwait(&set, NULL, &second);

		if (sig == SIGTERM || sig == SIGINT)
			break;
		if (sig == SIGHUP)
			reload(&s);
		if (turn_keeper_wants(s.turn_keeper) && !open_again(&s, &set))
			break;
		if (s.in->private) {
			/* One line when it fails, one when it is back; it says itself what it does in between. */
			bool down = private_db_supervise(s.in->private) != ERR_OK;

			if (down != database_down)
				log_event(down ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, down ? "database.down" : "database.back", "why", down ? err_text() : "", NULL);
			database_down = down;
		}
	}
	log_event(LOG_LEVEL_INFO, "serve.stopping", NULL);
	stop(&s, false);
	log_event(LOG_LEVEL_INFO, "serve.stopped", NULL);
	return ERR_OK;
}
