/*
 * login: name and password. The providers of passwords are asked for the name in the configured order, and the first
 * that has it decides: its answer is final, so that no password is tried on two accounts. "unix:alice" names one.
 *
 * Who is wrong learns nothing but that: the same sentence, after the same time. Each way takes one hash; an answer that
 * says no is given at the next full step of FLOOR since the question came, so that the ways cannot be told apart.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/weaken.h"

#define FLOOR (CLOCK_SECOND / 4)

struct auth *auth_new(const struct auth_options *o)
{
	struct auth *a = mem_alloc(sizeof *a);

	a->o = *o;
	a->o.login_order = a->order = mem_dup(o->login_order ? o->login_order : "own");
	pthread_mutex_init(&a->lock, NULL);
	pthread_mutex_init(&a->nss.lock, NULL);
	a->throttle = throttle_new();
	a->dummy = password_setting();
	random_bytes(a->secret, sizeof a->secret);
	return a;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	if (a->hasher)
		pool_free(a->hasher);
	sessions_free(a);
	tokens_forget(a);
	unix_close(a);
	throttle_free(a->throttle);
	pthread_mutex_destroy(&a->nss.lock);
	pthread_mutex_destroy(&a->lock);
	free(a->dummy);
	free(a->order);
	free(a);
}

/* --- who is meant -------------------------------------------------------------------------------------------------- */

struct attempt {
	struct auth *auth;
	struct db *db;
	struct arena *arena;
	const char *name, *password, *address;
	const char *bare; /* the name without its provider, or "" if it cannot be one */
	const char *principal; /* NULL: nobody has that name */
	bool unix_user; /* the principal is a UNIX user's; or nobody's, and one would have been asked for */
	struct db_account account;
	const char *why; /* it was refused: for the event and the log */
	bool right; /* the password was, but he may not come in yet */
};

static bool in_order(const struct auth *a, const char *provider)
{
	const size_t n = strlen(provider);

	for (const char *p = a->o.login_order; (p = strstr(p, provider)); p += n)
		if ((p == a->o.login_order || p[-1] == ' ') && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

static enum err look_own(struct attempt *t)
{
	enum err err = db_account_get(t->db, t->bare, &t->account, t->arena);

	if (!err)
		t->principal = arena_printf(t->arena, "own:%s", t->bare);
	return err;
}

static enum err look_unix(struct attempt *t)
{
	struct provider_user user = { .enabled = false };
	enum err err = provider_unix.user(t->auth, t->db, t->bare, &user, t->arena);

	t->unix_user = true;
	if (!err)
		t->principal = arena_printf(t->arena, "unix:%s", t->bare);
	return err;
}

static enum err look(struct attempt *t)
{
	const char *rest = t->auth->o.login_order;
	const char *colon = strchr(t->name, ':');
	enum err err = ERR_NOT_FOUND;

	while (*rest && err == ERR_NOT_FOUND) {
		size_t n = strcspn(rest, " ");

		/* A full name is that provider's, if passwords of it are taken here at all. */
		if (!colon || (n == (size_t)(colon - t->name) && strncmp(rest, t->name, n) == 0))
			err = n == 3 ? look_own(t) : look_unix(t);
		rest += n + strspn(rest + n, " ");
	}
	return err;
}

/* What is behind the provider's name, if it can be a name at all. */
static const char *bare_name(const char *name, struct arena *a)
{
	const char *colon = strchr(name, ':');
	const char *bare = colon ? colon + 1 : name;

	if (strlen(bare) > 128 || bare[0] == '@' || !principal_valid(arena_printf(a, "own:%s", bare)))
		return "";
	return bare;
}

/* --- is it he ------------------------------------------------------------------------------------------------------ */

#define WRONG "Name or password is wrong."
#define WRONG_WITHOUT_ROOT \
	WRONG " Passwords of UNIX users cannot be checked here: the server was not started as root. On the machine itself `drydock` needs none."

/* One sentence for all who are wrong, so that it says nothing about a name. */
static enum err wrong(struct attempt *t, const char *why)
{
	const struct auth *a = t->auth;

	t->why = why;
	return err_set(ERR_DENIED, "%s", a->o.pam <= 0 && in_order(a, "unix") ? WRONG_WITHOUT_ROOT : WRONG);
}

static enum err check_unix(struct attempt *t)
{
	const char *why = "";
	enum pam_verdict v = pam_check(t->auth, t->bare, t->password, t->address, &why, t->arena);

	if (!t->principal && v != PAM_VERDICT_UNAVAILABLE)
		return wrong(t, "unknown name");
	switch (v) {
	case PAM_VERDICT_RIGHT:
		return ERR_OK;
	case PAM_VERDICT_EXPIRED:
		t->why = why;
		t->right = true;
		return err_set(ERR_DENIED, "Your password has expired: log in to the machine itself and change it.");
	case PAM_VERDICT_REFUSED:
		return wrong(t, why);
	case PAM_VERDICT_WRONG:
		return wrong(t, "wrong password");
	case PAM_VERDICT_UNAVAILABLE:
	default:
		t->why = why;
		return err_set(ERR_BUSY, "Passwords of UNIX users cannot be checked now. Try again in a moment; the server's log says why.");
	}
}

static enum err check_own(struct attempt *t)
{
	/* The hash is computed for everybody, for a disabled account and an impossible name too. */
	const char *hash = t->account.password ? t->account.password : "";
	const bool right = strlen(t->password) <= PASSWORD_LIMIT && password_matches_quietly(t->auth, t->password, hash);

	if ((right || WEAK(login_password)) && t->principal && (t->account.enabled || WEAK(login_disabled)))
		return ERR_OK;
	return wrong(t, !t->principal ? "unknown name" : right ? "disabled" : "wrong password");
}

/* For a name that nobody has as much is done as for one that somebody has. */
static enum err check(struct attempt *t)
{
	if (!t->unix_user || !*t->bare || strlen(t->password) > PASSWORD_LIMIT)
		return t->unix_user && t->principal ? wrong(t, "wrong password") : check_own(t);
	if (t->auth->o.pam > 0)
		return check_unix(t);
	return t->principal ? wrong(t, "no PAM: not started as root") : check_own(t);
}

static enum err login_event(struct db *db, const char *kind, const char *principal, const char *address, const char *detail)
{
	struct db_event e = { .at = clock_wall(), .kind = kind, .principal = principal, .address = address, .detail = detail };

	return db_event_add(db, &e);
}

/* A name that nobody has may be a password typed into the wrong field: it is not written down. */
static enum err refused(struct attempt *t, enum err err)
{
	char *text = arena_dup(t->arena, err_text());
	const char *principal = t->principal ? t->principal : "";

	log_event(LOG_LEVEL_INFO, "auth.login.refused", "user", t->principal, "from", t->address, "why", t->why, NULL);
	if (login_event(t->db, "login-failed", principal, t->address, t->why))
		log_event(LOG_LEVEL_WARN, "auth.event", "why", err_text(), NULL);
	return err_set(err, "%s", text);
}

static void wait_for_step(int64_t begun)
{
	int64_t since = clock_boot() - begun;

	clock_sleep(FLOOR - since % FLOOR);
}

/* Throttled, looked up, checked; *principal is who it is. */
static enum err try(struct attempt *t)
{
	const char *key;
	int64_t wait;
	enum err err;

	t->bare = bare_name(t->name, t->arena);
	key = arena_printf(t->arena, "login:%s", t->bare);
	wait = throttle_begin(t->auth->throttle, key, t->address);
	if (wait) {
		unsigned seconds = (unsigned)((wait + CLOCK_SECOND - 1) / CLOCK_SECOND);

		/* Whether there is such an account is not told here either, and a flood of guesses is no flood of events. */
		log_event(LOG_LEVEL_INFO, "auth.login.refused", "from", t->address, "why", "too many failed logins", NULL);
		return err_wait(seconds, "Too many failed logins. Try again in %u second%s.", seconds, seconds == 1 ? "" : "s");
	}
	err = *t->bare ? look(t) : ERR_NOT_FOUND;
	if (!err || err == ERR_NOT_FOUND) {
		err = check(t);
		if (err)
			err = refused(t, err);
	}
	if (!err)
		throttle_success(t->auth->throttle, key, t->address);
	else if (err != ERR_DENIED || t->right)
		throttle_cancel(t->auth->throttle, key, t->address);
	return err;
}

enum err auth_login(struct auth *a, struct db *db, const char *name, const char *password, const char *address, struct person **out)
{
	struct attempt t = { .auth = a, .db = db, .arena = arena_new(), .name = name, .password = password, .address = address ? address : "",
		.account = { .password = "" } };
	const int64_t begun = clock_boot();
	bool enabled = false;
	enum err err = try(&t);

	*out = NULL;
	if (!err)
		err = auth_person(a, db, t.principal, out, &enabled);
	if (!err && !enabled && !WEAK(login_disabled))
		err = err_set(ERR_DENIED, "Name or password is wrong.");
	if (!err)
		err = login_event(db, "login", t.principal, t.address, "");
	if (err) {
		person_unref(*out);
		*out = NULL;
	}
	if (err == ERR_DENIED)
		wait_for_step(begun);
	arena_free(t.arena);
	return err;
}

enum err auth_password_again(struct auth *a, struct db *db, const struct person *who, const char *password, const char *address)
{
	struct attempt t = { .auth = a, .db = db, .arena = arena_new(), .name = who->who.user, .password = password, .address = address ? address : "",
		.account = { .password = "" } };
	const int64_t begun = clock_boot();
	enum err err;

	if (!in_order(a, who->who.provider)) {
		err = err_set(ERR_DENIED, "DryDock cannot ask for the password of %s: it is not checked here.", who->who.user);
	} else {
		err = try(&t);
		if (err == ERR_DENIED) {
			err = err_set(ERR_DENIED, "The password is wrong. Nothing was changed.");
			wait_for_step(begun);
		}
	}
	arena_free(t.arena);
	return err;
}
