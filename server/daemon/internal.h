/* internal: what the files of daemon/ share. */
#ifndef DRYDOCK_DAEMON_INTERNAL_H
#define DRYDOCK_DAEMON_INTERNAL_H

#include "acts/acts.h"
#include "auth/auth.h"
#include "daemon/daemon.h"

#define FIRST_ADMINS "first-admins" /* in the data directory: principals, one a line, until the first serve took them up */

struct installation {
	const struct conf *conf;
	int lock;
	struct node_key *key;
	struct private_db *private; /* NULL: an outside server */
	struct db_address program; /* what everything but migrations uses */
	struct auth *auth;
	struct actor_tools *tools; /* of the main thread */
	struct site *self; /* the installation's own log */
	struct site **sites; /* in the order of the configuration */
	size_t n_sites;
};

#endif
