/* An installation opened and closed: what serve and admin have in common. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sys.h"
#include "daemon/datadir.h"
#include "daemon/internal.h"
#include "stage/door.h"
#include "web/web.h"

#define CONNECTIONS_BESIDE_WORKERS (16 + WEB_PATIENT) /* scheduler and kits, janitor, migrations, who looks at the database; logins */

int daemon_status(enum err e)
{
	switch (e) {
	case ERR_OK: return 0;
	case ERR_INPUT:
	case ERR_TOO_BIG: return 1;
	case ERR_NOT_FOUND: return 2;
	case ERR_DENIED: return 3;
	case ERR_STALE: return 4;
	case ERR_BUSY:
	case ERR_WAIT:
	case ERR_RETRY:
	case ERR_FAILED: return 6;
	}
	return 6;
}

enum err daemon_become(const char *name)
{
	struct passwd pw, *found = NULL;
	char text[16384];
	int rc = getpwnam_r(name, &pw, text, sizeof(text), &found);

	if (!found)
		return err_set(ERR_INPUT, rc ? "The user %s cannot be looked up" : "There is no user %s on this machine", name);
	if (!pw.pw_uid)
		return err_set(ERR_INPUT, "The daemon does not run as root: name another user in option user");
	if (initgroups(name, pw.pw_gid) || setresgid(pw.pw_gid, pw.pw_gid, pw.pw_gid) || setresuid(pw.pw_uid, pw.pw_uid, pw.pw_uid))
		return err_sys(ERR_FAILED, "Changing to user %s", name);
	/* It has to be for good. */
	if (!setuid(0) || geteuid() == 0)
		return err_set(ERR_FAILED, "The rights of root could not be given up");
	return ERR_OK;
}

static enum err check_kernel(void)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH };
	long fd = syscall(SYS_openat2, AT_FDCWD, ".", &how, sizeof(how));

	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return err_set(ERR_FAILED, "This kernel has no openat2 (Linux 5.6 or newer has it), without which a staging tree cannot be "
		                           "opened safely");
	if (fd >= 0)
		(void)close((int)fd);
	return ERR_OK;
}

/* Directories of the program that it cannot do without: a moved or half-made installation is told at once. */
static enum err check_share(const struct conf *c)
{
	const char *const dirs[][2] = { { "templates", c->templates }, { "static_files", c->static_files }, { "kits", c->kits }, { "sql", c->sql } };

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++)
		if (access(dirs[i][1], R_OK | X_OK))
			return err_sys(ERR_INPUT, "%s (option %s) cannot be read: the program's files belong there", dirs[i][1], dirs[i][0]);
	return ERR_OK;
}

static enum err read_password(const struct conf *c, struct db_address *address)
{
	struct buf text = BUF_INIT(sizeof(address->password) + 1);
	size_t len;
	enum err e = file_read(AT_FDCWD, c->database_password_file, &text);

	if (e) {
		e = err_prefix(ERR_INPUT, "database_password_file");
		goto out;
	}
	len = strcspn(buf_text(&text), "\r\n");
	if (len >= sizeof(address->password)) {
		e = err_set(ERR_INPUT, "%s: the password is too long", c->database_password_file);
		goto out;
	}
	memcpy(address->password, buf_text(&text), len);
	address->password[len] = '\0';
out:
	if (text.p)
		explicit_bzero(text.p, text.cap);
	buf_release(&text);
	return e;
}

enum err conf_database(const struct conf *conf, struct db_address *out)
{
	enum err e = db_address_parse(out, conf->database_url);

	return !e && *conf->database_password_file ? read_password(conf, out) : e;
}

/* The database, started if it is ours; migrate: brought to the newest schema, which it has to have otherwise. */
static enum err open_database(struct installation *in, bool migrate)
{
	struct db *db = NULL;
	const char *program = NULL;
	enum err e;

	if (*in->conf->database_url) {
		e = conf_database(in->conf, &in->program);
		if (e)
			return e;
		in->owner = in->program;
	} else {
		e = private_db_start(&in->private, in->conf->data, in->conf->workers + CONNECTIONS_BESIDE_WORKERS + (unsigned)in->conf->n_sites * 3);
		if (e)
			return e;
		private_db_owner(in->private, &in->owner);
		private_db_program(in->private, &in->program);
		program = in->program.user;
	}
	e = db_open(&db, &in->owner);
	if (e)
		return e;
	if (migrate)
		e = db_migrate(db, in->conf->sql, program);
	FAILPOINT_OR(e, open_migrated);
	if (!e)
		e = db_schema_check(db, in->conf->sql);
	db_close(db);
	return e;
}

/* Recorded by a start that ended before it could remove the note? */
static bool is_admin(struct site *s, const char *principal)
{
	struct rules *rules = site_rules(s);
	const struct rule *r = rules_find(rules, principal, path_root());
	bool is = r && r->role == ROLE_ADMIN;

	rules_unref(rules);
	return is;
}

/* What `drydockd init --admin` noted: done once, by the system. */
static enum err take_first_admins(struct installation *in)
{
	struct buf text = BUF_INIT(65536);
	char *name = mem_printf("%s/" FIRST_ADMINS, in->conf->data), *line, *next = NULL;
	enum err e = file_read(AT_FDCWD, name, &text);

	if (e) {
		e = e == ERR_NOT_FOUND ? ERR_OK : e;
		goto out;
	}
	for (line = strtok_r(text.p, "\n", &next); line && !e; line = strtok_r(NULL, "\n", &next))
		for (size_t i = 0; i < in->n_sites && !e; i++) {
			struct act_answer answer;

			/* Somebody may have decided otherwise before it has the turn: now or not at all. */
			if (in->sites[i]->waits)
				log_event(LOG_LEVEL_WARN, "admin.elsewhere", "site", in->sites[i]->name, "principal", line, "why",
				    "another server has the turn: give drydockd admin there", NULL);
			if (in->sites[i]->waits || is_admin(in->sites[i], line))
				continue;
			e = act_admin_offline(in->sites[i], in->tools, line, &answer);
			if (e)
				e = err_prefix(e, "%s: making %s an admin of site %s", name, line, in->sites[i]->name);
			FAILPOINT_OR(e, open_admin_made);
		}
	if (!e && in->n_sites && sys_unlink(AT_FDCWD, name, 0))
		e = err_sys(ERR_FAILED, "%s", name);
out:
	free(name);
	buf_release(&text);
	return e;
}

enum err installation_open_stores(struct installation **out, const struct conf *conf, bool migrate)
{
	struct installation *in = mem_alloc(sizeof(*in));
	enum err e;

	*out = NULL;
	in->conf = conf;
	in->lock = -1;
	(void)umask(077);
	e = check_kernel();
	if (!e)
		e = check_share(conf);
	if (!e)
		e = datadir_lock(conf->data, &in->lock);
	FAILPOINT_OR(e, open_locked);
	if (!e)
		e = node_key_load(&in->key, conf->data);
	if (e == ERR_NOT_FOUND && !in->key)
		e = err_set(e, "%s: put it back from a backup; if there is none, see \"The key is lost\" in the manual", err_text());
	FAILPOINT_OR(e, open_keyed);
	if (!e)
		e = db_library_start();
	in->library = !e;
	if (!e)
		e = open_database(in, migrate);
	FAILPOINT_OR(e, open_database_there);
	if (e)
		return installation_close_after(in, e);
	*out = in;
	return ERR_OK;
}

static enum err open_turns(struct installation *in, struct turns_kept *kept)
{
	enum err e = ERR_OK;

	if (kept && kept->turns) {
		in->turns = kept->turns;
		in->heart = kept->heart;
	} else {
		e = turns_new(&in->turns, in->lock, in->private != NULL);
		if (!e && !turns_alone(in->turns))
			e = heart_start(&in->heart, in->turns, &in->program);
		if (e)
			return e;
		if (kept)
			*kept = (struct turns_kept){ in->turns, in->heart };
		else
			turns_hurry(in->turns);
	}
	in->turns_borrowed = kept != NULL;
	return ERR_OK;
}

/* Told before anybody's turn is taken: two servers on storage that is gone would take it from one another, each time as a record. */
static enum err check_staging(const struct conf *conf)
{
	enum err e = ERR_OK;

	for (size_t i = 0; i < conf->n_sites && !e; i++) {
		struct door *door;

		e = door_open(&door, conf->sites[i].staging, conf->sites[i].largest_file);
		if (e)
			e = err_prefix(e, "site %s", conf->sites[i].name);
		else
			door_close(door);
	}
	return e;
}

/* For a command there is no waiting. */
static enum err need_turn(const struct installation *in, const struct site *s)
{
	if (in->turns_borrowed || !s->waits)
		return ERR_OK;
	return err_set(ERR_BUSY, "another server of this database runs, or ended within the last minute: do this there, or stop it first");
}

void turns_kept_free(struct turns_kept *k)
{
	heart_stop(k->heart);
	turns_free(k->turns);
	*k = (struct turns_kept){ NULL, NULL };
}

static void leave_turns(struct installation *in)
{
	struct db *db = NULL;

	if (!in->turns || (in->turns_borrowed && !in->not_opened))
		return;
	if (!turns_alone(in->turns) && !db_open(&db, &in->program)) {
		turns_stop(in->turns, db);
		db_close(db);
	}
	if (!in->turns_borrowed)
		turns_kept_free(&(struct turns_kept){ in->turns, in->heart });
}

static enum err open_once(struct installation **out, const struct conf *conf, const struct helpers *helpers, struct turns_kept *turns, bool *again)
{
	struct auth_options auth = { .idle_us = conf->session_idle_us, .absolute_us = conf->session_absolute_us, .group_cache_us = conf->group_cache_us,
		.proxy = *conf->proxy_user && *conf->proxy_user_header, .login_order = conf->login_order, .pam = helpers ? helpers->pam : 0, .nss = helpers ? helpers->nss : 0,
		.password_deadline_us = conf->password_deadline_us, .nss_deadline_us = conf->nss_deadline_us };
	struct installation *in;
	enum err e = installation_open_stores(&in, conf, true);

	if (e && turns && turns->turns)
		turns_hush(turns->turns);
	if (e)
		return e;
	in->auth = auth_new(&auth);
	in->tools = tools_new(&in->program);
	e = open_turns(in, turns);
	if (!e)
		e = check_staging(conf);
	if (e)
		goto out;
	e = site_open_installation(&in->self, conf, in->key, in->turns, in->tools);
	if (!e)
		e = need_turn(in, in->self);
	FAILPOINT_OR(e, open_installation_there);
	if (e) {
		e = err_prefix(e, "the installation's log");
		goto out;
	}
	in->self->auth = in->auth;
	in->sites = mem_array(conf->n_sites + 1, sizeof(struct site *));
	for (size_t i = 0; i < conf->n_sites; i++) {
		e = site_open(&in->sites[i], conf, &conf->sites[i], in->key, in->turns, in->tools);
		if (!e)
			e = need_turn(in, in->sites[i]);
		if (e) {
			e = err_prefix(e, "site %s", conf->sites[i].name);
			goto out;
		}
		in->sites[i]->auth = in->auth;
		in->n_sites++;
		FAILPOINT_OR(e, open_site_there);
		if (e)
			goto out;
	}
	e = key_change_complete(in, again);
	if (!e && *again) {
		log_event(LOG_LEVEL_WARN, "key.changed", "why", "the node's key was changed: opening again with the new one", NULL);
		goto out;
	}
	if (!e)
		e = restored_hold(in);
	if (!e && !node_key_next(in->key))
		e = take_first_admins(in);
out:
	in->not_opened = e != ERR_OK;
	if (e || *again)
		return installation_close_after(in, e);
	*out = in;
	return ERR_OK;
}

enum err installation_open(struct installation **out, const struct conf *conf, const struct helpers *helpers, struct turns_kept *turns)
{
	bool again = false, changed;
	enum err e = open_once(out, conf, helpers, turns, &again);

	changed = again;
	again = false;
	/* All that was opened has the old key. */
	if (!e && changed)
		e = open_once(out, conf, helpers, turns, &again);
	if (!e)
		(*out)->key_was_changed = changed;
	return e;
}

void installation_close(struct installation *in)
{
	if (!in)
		return;
	for (size_t i = 0; i < in->n_sites; i++)
		site_close(in->sites[i]);
	FAILPOINT(stop_sites_closed);
	free(in->sites);
	if (in->self)
		site_close(in->self);
	if (in->tools)
		tools_free(in->tools);
	leave_turns(in);
	if (in->auth)
		auth_free(in->auth);
	if (in->private)
		private_db_stop(in->private, false);
	node_key_free(in->key);
	if (in->library)
		db_library_stop();
	explicit_bzero(&in->program, sizeof(in->program));
	explicit_bzero(&in->owner, sizeof(in->owner));
	datadir_unlock(in->lock);
	free(in);
}

enum err installation_close_after(struct installation *in, enum err e)
{
	char *why = e ? mem_dup(err_text()) : NULL;

	installation_close(in);
	if (e)
		(void)err_set(e, "%s", why);
	free(why);
	return e;
}
