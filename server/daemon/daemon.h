/*
 * daemon: what the commands of drydockd do. main.c reads the command line and turns the result into an exit status.
 */
#ifndef DRYDOCK_DAEMON_DAEMON_H
#define DRYDOCK_DAEMON_DAEMON_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "conf/conf.h"

/* --- init (daemon/init.c) ------------------------------------------------------------------------------------------ */

struct init_options {
	const char *data;
	const char *user; /* started as root: owner of the directory and user of the daemon; NULL: not given */
	const char *site, *staging, *production; /* a first site for the configuration file; NULL: none */
	unsigned port; /* 0: the default */
	const char *const *admins; /* principals that the first `serve` makes admins of every site */
	size_t n_admins;
};
enum err daemon_init(const struct init_options *o) MUST_CHECK;

/* --- what serve and admin share (daemon/open.c) ---------------------------------------------------------------------- */

/* An installation that is open: data directory locked, database at hand and at the newest schema. */
struct installation;
/* What outlives an installation that is opened again; empty at first. */
struct turns_kept { struct turns *turns; struct heart *heart; };
/* Control sockets of the helper processes (base/crew.h); 0: none, NSS is asked in this process. */
struct helpers { int pam, nss; };
/*
 * helpers NULL: none. turns: made if *turns is NULL, borrowed, and kept when it is opened again; NULL: a command that has
 * to have the turn of each site, now, and gives it away when it is closed.
 */
enum err installation_open(struct installation **out, const struct conf *conf, const struct helpers *helpers, struct turns_kept *turns) MUST_CHECK;
void installation_close(struct installation *in); /* stops the private database; NULL is allowed */
/* The same, keeping the sentence of e, and its code. */
enum err installation_close_after(struct installation *in, enum err e) MUST_CHECK;

/* --- commands -------------------------------------------------------------------------------------------------------- */

/* Serve until SIGTERM or SIGINT. Signals have to be blocked in all threads: daemon_signals(). ready: may be -1; gets one byte. */
enum err daemon_serve(struct conf *conf, const struct helpers *helpers, int ready) MUST_CHECK;
/* Not as root: the helper process for NSS, then daemon_serve(). */
enum err daemon_serve_alone(struct conf *conf) MUST_CHECK;
void daemon_signals(void);
/* As root: stay as a monitor, run the daemon as option user, start it again when it ends. *status: what to exit with. */
enum err daemon_monitor(const struct conf *conf, int *status) MUST_CHECK;
/*
 * Without a running server: make a user admin on "/" of one site (NULL: of each). An own account that does not exist
 * is made; its password is asked for on the terminal, or is the first line of standard input.
 */
enum err daemon_admin(const struct conf *conf, const char *user, const char *site) MUST_CHECK;
/*
 * Is everything that was recorded there, and does everything agree? Findings go to standard output, for people or as JSON.
 * *status: 0 clean, 1 all that was found is repaired, 2 damage, 3 it could not be checked.
 */
struct fsck_options { bool deep, json, repair; const char *site; /* NULL: all, and the installation */ };
enum err daemon_fsck(const struct conf *conf, const struct fsck_options *o, int *status) MUST_CHECK;
/*
 * Make the database again from the logs in the repositories. An empty one, or, with replace, whatever is there: then
 * passwords are kept, and release numbers stay as high as they were.
 */
enum err daemon_rebuild(const struct conf *conf, bool replace) MUST_CHECK;
/* Into a new directory, beside a running server or without one; and back into a new data directory. */
enum err daemon_backup(const struct conf *conf, const char *dir) MUST_CHECK;
enum err daemon_restore(const char *from, const char *to) MUST_CHECK;
enum err daemon_accept_loss(const struct conf *conf, const char *reason) MUST_CHECK;
/*
 * Change the node's key: a record in every log, by the old key; the old one is destroyed unless keep. from: a file with the new
 * key; NULL: one is made. Without a running server. A change that was cut short is completed by the next opening, whoever opens.
 */
struct key_options { const char *reason, *from; bool keep; };
enum err daemon_key_change(const struct conf *conf, const struct key_options *o) MUST_CHECK;
enum err daemon_key_list(const struct conf *conf, bool json) MUST_CHECK;
int daemon_status(enum err e); /* the exit status of a command that ended so */
/* Change to a UNIX user for good: groups, gid, uid. */
enum err daemon_become(const char *user) MUST_CHECK;

#endif
