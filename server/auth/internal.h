/*
 * internal: what the files of auth/ share. Nobody else includes it.
 */
#ifndef DRYDOCK_AUTH_INTERNAL_H
#define DRYDOCK_AUTH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "auth/auth.h"

#define SESSION_BUCKETS 1024u /* a power of two */
#define PEER_LIMIT 1024 /* UNIX users remembered at once */
#define GROUPS_LIMIT 4096 /* of one user */
#define TOKEN_SLOTS 256u /* API tokens remembered at once; a power of two */
#define NSS_LIMIT (1u << 20) /* largest buffer given to getpwnam_r and its like */

struct session_slot {
	struct session_slot *next;
	struct sha256 id_hash;
	struct person *person; /* referenced */
	int64_t created_at, seen_at; /* wall clock, as in the database */
	int64_t written_at; /* the seen_at that the database has */
	int64_t fresh_until; /* boot clock: then groups are asked again */
};

struct peer_slot {
	uid_t uid;
	struct person *person; /* referenced */
	int64_t fresh_until; /* boot clock */
};

struct token_slot {
	struct sha256 hash;
	struct person *person; /* referenced, with its limit; NULL: the slot is free */
	int64_t created_at, expires_at; /* wall clock */
	int64_t fresh_until; /* boot clock */
};

#define NSS_IDLE 4
/* Connections to children of the NSS helper that wait for the next question, and whether it answers. */
struct nss {
	pthread_mutex_t lock;
	int idle[NSS_IDLE];
	size_t n_idle;
	bool down, probing;
	int64_t down_until; /* boot clock */
};

struct auth {
	struct auth_options o;
	char *order; /* of o.login_order: a copy */
	uint8_t secret[32]; /* of this process: for CSRF tokens of people without a session */
	char *dummy; /* a yescrypt setting: what an unknown name's password is hashed with */
	struct throttle *throttle;
	pthread_mutex_t lock; /* around everything below */
	uint64_t generation; /* rises when something is forgotten: an answer begun before is not cached any more */
	struct session_slot *sessions[SESSION_BUCKETS];
	struct peer_slot peers[PEER_LIMIT];
	size_t n_peers;
	struct nss nss;
	struct pool *hasher; /* one thread that gives way to others */
	struct token_slot tokens[TOKEN_SLOTS];
	int64_t gone_at; /* boot clock: when owners of tokens are looked up again */
};

/* --- provider.c ---------------------------------------------------------------------------------------------------- */

/* What a provider tells of one of its users; strings in the arena. */
struct provider_user {
	const char *display;
	bool enabled;
	const char **groups; /* principals; own groups come from own_memberships */
	size_t n, cap;
};
struct provider {
	const char *name;
	/* ERR_NOT_FOUND: no such user or group here. Other errors: it could not be asked. */
	enum err (*user)(struct auth *au, struct db *db, const char *name, struct provider_user *out, struct arena *a);
	enum err (*group)(struct auth *au, struct db *db, const char *name);
	/* The users of a group; fn gets principals. */
	enum err (*members)(struct auth *au, struct db *db, const char *group, void (*fn)(void *arg, const char *principal), void *arg);
};
extern const struct provider provider_own, provider_unix, provider_proxy;
const struct provider *provider_find(const char *principal, const char **name); /* NULL; name: behind the colon */
/* Sorted, so that the same person is the same bytes in each record. */
void provider_user_sort(struct provider_user *u);
void provider_user_group(struct provider_user *u, struct arena *a, const char *principal);

/* A new person with one reference. Groups are copied. */
struct person *person_new(const char *provider, const char *name, const char *display, const char *const *groups, size_t n);

/* The same person within a limit, which is copied. */
struct person *person_limited(const struct person *p, const struct role_limit *limit);

/* --- session.c ----------------------------------------------------------------------------------------------------- */

void sessions_free(struct auth *a);

/* --- token.c ------------------------------------------------------------------------------------------------------- */

void tokens_forget(struct auth *a); /* with the lock held */
/* What is remembered under a hash: person (referenced), hash and created_at of *out. */
bool token_slot_get(struct auth *a, const struct sha256 *hash, struct session *out);
/* Unless something was forgotten since that generation. Takes a reference of its own. */
void token_slot_put(struct auth *a, uint64_t generation, const struct sha256 *hash, struct person *who, int64_t created_at, int64_t expires_at);
enum err tokens_of_the_gone(struct auth *a, struct db *db) MUST_CHECK;

/* --- own.c --------------------------------------------------------------------------------------------------------- */

/* Add the own groups that name this principal as a member. */
enum err own_memberships(struct db *db, const char *principal, struct provider_user *out, struct arena *a) MUST_CHECK;

/* --- unix.c -------------------------------------------------------------------------------------------------------- */

/* The name of a uid: ERR_DENIED for an unknown one. In the arena. */
enum err unix_name(struct auth *au, uid_t uid, const char **name, struct arena *a) MUST_CHECK;
void unix_close(struct auth *a);

/* --- nss.c --------------------------------------------------------------------------------------------------------- */

#define NSS_ANSWER (8u << 20)
enum nss_question {
	NSS_USER = 'u', /* a name: its display name, then its groups as principals */
	NSS_NAME = 'n', /* a uid in figures: its name */
	NSS_UID = 'i', /* a name: its uid in figures */
	NSS_GROUP = 'g', /* a group's name: nothing but that it is there */
	NSS_MEMBERS = 'm', /* a group's name: its users as principals */
};
/* Texts, each with its NUL, are added to out. ERR_NOT_FOUND, ERR_BUSY. May hang. */
enum err nss_answer(char question, const char *name, struct buf *out) MUST_CHECK;

/* --- password.c ---------------------------------------------------------------------------------------------------- */

char *password_setting(void); /* a fresh yescrypt setting; the caller frees */
/* True if password gives hash. With hash "" the dummy is computed, and the answer is false. */
bool password_matches(const char *password, const char *hash, const char *dummy);

/*
 * The same, on a thread of its own that gives way to all others: a hash costs a core for a twentieth of a second, and
 * many logins at once must not hold up pages. Waits for its turn.
 */
bool password_matches_quietly(struct auth *a, const char *password, const char *hash);

/* --- pam.c --------------------------------------------------------------------------------------------------------- */

enum pam_verdict {
	PAM_VERDICT_RIGHT = 'o',
	PAM_VERDICT_WRONG = 'w',
	PAM_VERDICT_EXPIRED = 'n', /* the right one, but it has to be changed first */
	PAM_VERDICT_REFUSED = 'a', /* the right one, but the account may not come in */
	PAM_VERDICT_UNAVAILABLE = 'u', /* nothing can be said */
};
/* Asks the helper process, at most as long as a try may take. why: in PAM's words, for the log. */
enum pam_verdict pam_check(const struct auth *a, const char *name, const char *password, const char *address, const char **why,
    struct arena *arena) MUST_CHECK;

/* --- throttle.c ---------------------------------------------------------------------------------------------------- */

/*
 * Failed logins by (name, address), by name and by address. Each has a number of free failures, then a delay that
 * doubles up to a ceiling; it fades when it rests. Nobody is locked out: who logged in from an address lately is not
 * held up there by what others try against his name from elsewhere.
 */
struct throttle;
struct throttle *throttle_new(void);
void throttle_free(struct throttle *t);
/* Counts the attempt as failed beforehand, so that parallel attempts do not slip through. 0: go on; else wait, in us. */
int64_t throttle_begin(struct throttle *t, const char *name, const char *address);
/* The attempt was right: forget it. */
void throttle_success(struct throttle *t, const char *name, const char *address);
/* The attempt could not be judged (database away): take it back. */
void throttle_cancel(struct throttle *t, const char *name, const char *address);

#endif
