/* internal: what the files of daemon/ share. */
#ifndef DRYDOCK_DAEMON_INTERNAL_H
#define DRYDOCK_DAEMON_INTERNAL_H

#include "acts/acts.h"
#include "auth/auth.h"
#include "auth/helper.h"
#include "daemon/daemon.h"

#define FIRST_ADMINS "first-admins" /* in the data directory: principals, one a line, until the first serve took them up */

struct installation {
	const struct conf *conf;
	int lock;
	struct node_key *key;
	struct private_db *private; /* NULL: an outside server */
	struct db_address program, owner; /* the program's account, which everything uses but migrations and rebuild */
	struct auth *auth;
	struct actor_tools *tools; /* of the main thread */
	struct site *self; /* the installation's own log */
	struct site **sites; /* in the order of the configuration */
	size_t n_sites;
	bool key_was_changed; /* this opening completed a change of the key */
	struct turns *turns; /* acts/turn.h */
	struct heart *heart; /* NULL: nobody else can be there */
	bool turns_borrowed; /* both outlive it, and so does its turn */
	bool not_opened; /* it gives its turn away all the same */
	bool library; /* db_library_start */
};

/* --- turns.c: for servers that share a database --------------------------------------------------------------------- */

void turns_kept_free(struct turns_kept *k);

struct sync;
struct turn_keeper;
/* A thread that looks at the others. */
enum err turn_keeper_start(struct turn_keeper **out, struct installation *in, struct sync **syncs) MUST_CHECK;
void turn_keeper_stop(struct turn_keeper *k); /* NULL: fine */
/* A turn came or went: the installation has to be opened again. */
bool turn_keeper_wants(struct turn_keeper *k);

/* Data directory locked, key loaded, database at hand; migrate: at the newest schema, otherwise it has to be there already. Nothing else is opened or changed. */
enum err installation_open_stores(struct installation **out, const struct conf *conf, bool migrate) MUST_CHECK;

/* key.c: what a note says is done. *done: there was one; the installation has to be opened again. */
enum err key_change_complete(struct installation *in, bool *done) MUST_CHECK;

/* fsck.c: what rebuild and backup need too */
struct check_place;
char **datadir_sites(const char *data); /* names of all that have a repository, NULL at the end; the caller frees each and the list */
enum err place_open_site(struct check_place *p, struct installation *in, const char *name, struct db *db) MUST_CHECK;
void place_close_site(struct check_place *p);
/* --- daemon/helpers.c ------------------------------------------------------------------------------------------------ */

struct helper {
	struct crew crew;
	const char *user; /* to become; NULL: stays what it is */
	int control[2]; /* ours or the daemon's, the crew's */
	pid_t pid; /* 0: none */
	int64_t started;
};
struct helper_set {
	struct pam_service service;
	int64_t nss_deadline_us;
	struct helper pam, nss;
};
/* While there is one thread. root: PAM too. conf has to live as long. */
enum err helpers_start(struct helper_set *set, const struct conf *conf, bool root) MUST_CHECK;
void helpers_check(struct helper_set *set); /* start again what ended */
struct helpers helpers_take(struct helper_set *set); /* in the daemon's process: its ends only */
void helpers_stop(struct helper_set *set);

enum err conf_database(const struct conf *conf, struct db_address *out) MUST_CHECK; /* an outside one, with its password */
enum err manifest_write(const char *dir, const char *at) MUST_CHECK; /* restore.c */
/* A data directory that was restored is read-only until daemon_accept_loss. */
enum err restored_hold(struct installation *in) MUST_CHECK;

#endif
