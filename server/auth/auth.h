/*
 * auth: who is asking. Own accounts and groups (yescrypt), UNIX users (NSS, passwords through PAM, peer credentials on the
 * local socket), sessions, API tokens.
 *
 * Providers stand behind one small table (provider name, look up users and groups); passwords are login.c's. Sessions are random 256 bits, stored hashed in the database, and cached in memory so that a
 * network thread can answer who asks without waiting: auth_session_cached() never blocks.
 */
#ifndef DRYDOCK_AUTH_AUTH_H
#define DRYDOCK_AUTH_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/mem.h"
#include "core/role.h"
#include "db/db.h"

struct auth; /* shared, thread-safe */
struct auth_options {
	int64_t idle_us, absolute_us;
	int64_t group_cache_us; /* how long groups are remembered; 60 s */
	int64_t event_keep_us; /* 0: for ever */
	bool proxy; /* a proxy is trusted to name people */
	const char *login_order; /* providers of passwords, "own unix": where a name is looked for first; NULL: "own" */
	int pam, nss; /* control sockets of the helper processes (base/crew.h); 0: none */
	int64_t password_deadline_us, nss_deadline_us; /* of one try, of one question */
};
struct auth *auth_new(const struct auth_options *o);
void auth_free(struct auth *a);

/* An identity shared by reference count: immutable. */
struct person {
	struct identity who;
	const char *display; /* "Alice Example", or the name */
};
struct person *person_ref(struct person *p);
void person_unref(struct person *p);

/* --- passwords and login ------------------------------------------------------------------------------------------- */

#define PASSWORD_MIN 8
#define PASSWORD_LIMIT 256 /* bytes */
/* yescrypt with a fresh salt; ERR_INPUT if too short, too long or not UTF-8. out: at most 384 bytes. */
enum err auth_password_hash(const char *password, char out[384]) MUST_CHECK;
/*
 * Check name and password, own account or UNIX user; the same time and answer for unknown users (a hash is computed for
 * them too). May wait as long as a try of PAM may take: not on a worker that pages need.
 * Throttled by account and address with growing delay (ERR_WAIT says how long), never a lock-out. Success and failure
 * are events. ERR_DENIED: "Name or password is wrong."
 */
enum err auth_login(struct auth *a, struct db *db, const char *name, const char *password, const char *address, struct person **out) MUST_CHECK;

/* The same for somebody who is logged in already, before an act of weight. ERR_DENIED: wrong, or he has none that is checked here. */
enum err auth_password_again(struct auth *a, struct db *db, const struct person *who, const char *password, const char *address) MUST_CHECK;

/* --- sessions ------------------------------------------------------------------------------------------------------ */

#define SESSION_TOKEN 44 /* base64url of 32 bytes, and NUL */
struct session {
	struct person *person; /* referenced */
	struct sha256 id_hash;
	char csrf[44]; /* derived from the session's token by HMAC */
	int64_t created_at;
};
enum err auth_session_start(struct auth *a, struct db *db, struct person *who, const char *address, const char *agent, char token[SESSION_TOKEN]) MUST_CHECK;
/* From memory only: true and *out filled (person referenced) if it is known, current and its groups are fresh. */
bool auth_session_cached(struct auth *a, const char *token, struct session *out);
/* The same through the database (worker threads). ERR_NOT_FOUND: no such session, or it has expired. */
enum err auth_session_find(struct auth *a, struct db *db, const char *token, struct session *out) MUST_CHECK;
/* The same, but it is no use of the session: a page that stays open must not keep it from ending when it is idle. */
enum err auth_session_watch(struct auth *a, struct db *db, const char *token, struct session *out) MUST_CHECK;
enum err auth_session_end(struct auth *a, struct db *db, const struct sha256 *id_hash) MUST_CHECK;
enum err auth_session_end_all(struct auth *a, struct db *db, const char *principal) MUST_CHECK;
/* Write back last-seen times, expire old sessions and events: called by the janitor every minute. */
enum err auth_housekeeping(struct auth *a, struct db *db) MUST_CHECK;

/* --- API tokens ---------------------------------------------------------------------------------------------------- */

#define API_TOKEN_TEXT 48 /* "ddt_", base64url of 32 bytes, and NUL */
/* A new one: the text is shown once and kept nowhere; the id names it in lists and records. */
void auth_token_make(char text[API_TOKEN_TEXT], struct sha256 *hash, char id[TOKEN_ID]);
/* As auth_session_cached: who comes with this text. out->person->who.limit says what it may at most do; no CSRF token. */
bool auth_token_cached(struct auth *a, const char *text, struct session *out);
/* The same through the database; the use is noted. ERR_NOT_FOUND: unknown, expired, or the owner may not act; err_text() says. */
enum err auth_token_find(struct auth *a, struct db *db, const char *text, const char *address, struct session *out) MUST_CHECK;

/* --- who there is -------------------------------------------------------------------------------------------------- */

/*
 * Somebody whom the trusted proxy names: "proxy:<name>", in the groups "a, b" that it lists and in own ones. The session
 * has a CSRF token, and is in no list. ERR_DENIED: an impossible name. db NULL: from memory, or ERR_RETRY.
 */
enum err auth_proxy_person(struct auth *a, struct db *db, const char *name, const char *groups, struct session *out) MUST_CHECK;
/* The uid of a UNIX user, at start: asked here, without a helper. ERR_INPUT: there is none, or it is root. */
enum err auth_unix_uid(const char *name, uid_t *uid) MUST_CHECK;
/* The peer of the local socket. ERR_DENIED for an unknown or overflow uid. Groups by getgrouplist and own memberships. */
enum err auth_unix_peer(struct auth *a, struct db *db, uid_t uid, struct person **out) MUST_CHECK;
/*
 * "alice", "own:alice", "unix:@web", "@editors" → the principal with its provider; a short form only where one provider
 * has the name: ERR_INPUT says which ones have it; ERR_NOT_FOUND: nobody has it. A well-formed full name is copied to
 * out even then, so that the rules of somebody who is gone can still be taken away.
 */
enum err auth_principal(struct auth *a, struct db *db, const char *text, char out[PRINCIPAL_LIMIT + 1]) MUST_CHECK;
/* The identity of a user as of now (for explain and for judging a change of rules). enabled: he can act. */
enum err auth_person(struct auth *a, struct db *db, const char *principal, struct person **out, bool *enabled) MUST_CHECK;
/* The UNIX user that a principal is. ERR_NOT_FOUND: he is none, or is not known. */
enum err auth_uid(struct auth *a, const char *principal, uid_t *out) MUST_CHECK;
/*
 * Everybody whose rights a change of these rules could touch: own accounts, members of own groups, users named in a
 * rule, members of UNIX groups named in a rule. For role_change_allowed; members[i] borrows from persons[i].
 */
struct auth_members {
	struct role_member *members;
	struct person **persons;
	size_t n;
};
enum err auth_members(struct auth *a, struct db *db, const struct rules *rules, struct auth_members *out) MUST_CHECK;
void auth_members_release(struct auth_members *m);
/* After an account, group or membership changed: forget cached groups. */
void auth_forget(struct auth *a);

#endif
