/*
 * conf: the option table, its parser, and one const struct conf.
 *
 * One table (name, type, bounds, default, unit, reload flag, description) gives the parser (libconfuse), --help-config,
 * the sample file and the manual. An unknown key, a bad value, or a file of secrets that others can read refuses to
 * start with file and line. Nothing is taken from the environment. libconfuse is included in this room only.
 */
#ifndef DRYDOCK_CONF_CONF_H
#define DRYDOCK_CONF_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

/* target NAME { kit = "local"  place = "/srv/www"  option = {"k=v"} } inside a site */
struct conf_target {
	const char *name; /* [a-z0-9_-]+, at most 64 */
	const char *kit; /* a file name in the kits directory */
	const char *place; /* handed to the kit */
	int64_t deadline_us, silence_us; /* 10 min, 60 s */
	/* of the ssh kits: "" or 0 elsewhere */
	const char *host, *ssh_user, *key_file, *known_hosts, *receiver_key;
	unsigned ssh_port;
	const char *const *options; /* "key=value", n_options */
	size_t n_options;
};

#define CONF_MAIL_MOST 100
#define CONF_WEBHOOK_MOST 8

struct conf_site {
	const char *name;
	const char *title; /* for people; the name if not set */
	const char *staging; /* absolute, resolved */
	const char *live_url; /* where production can be looked at, "" if not said */
	uint64_t largest_file; /* bytes; 2 GiB */
	int64_t quiet_us, longest_us; /* 5 min, 60 min */
	int64_t release_expiry_us; /* 30 d */
	unsigned release_keep; /* tags and lists of so many releases; 1000 */
	unsigned removal_share, removal_least, removal_most; /* per cent, files, files: 20, 10, 5000 */
	bool watch;
	bool sign_password; /* each signature asks for the password again */
	const char *const *meanings; /* what a signature can mean; none: it is not asked */
	size_t n_meanings;
	/* who is told when a target fails, and when it is well again */
	const char *const *mail_to;
	size_t n_mail_to;
	const char *const *webhooks;
	size_t n_webhooks;
	const char *webhook_secret_file; /* "": they are not signed */
	const struct conf_target *targets;
	size_t n_targets;
};

struct conf {
	const char *file; /* the file it was read from, absolute */
	const char *data; /* data directory, absolute, resolved; where the file is unless it says otherwise */
	const char *name; /* of the installation: "drydock" */
	const char *user; /* run as; "" unless started as root */
	const char *address; /* "127.0.0.1" */
	unsigned port; /* 8087 */
	unsigned preview_port; /* 0: previews under a capability path */
	const char *preview_host; /* "localhost": previews are TOKEN.<preview_host>; "" with preview_port 0 */
	unsigned demo_port; /* 0: none. A second, plain listener on loopback that serves demo_directory, read-only */
	const char *demo_directory; /* "": none. The demo's production copy; may be a symbolic link that is switched */
	const char *public_url; /* what people type, for Origin checks and cookies; "" : http://address:port */
	bool allow_plain_http;
	const char *database_url; /* "": private MariaDB */
	const char *database_password_file;
	const char *templates, *static_files, *kits, *sql; /* directories; default: installed, or the source tree uninstalled */
	unsigned workers; /* 4 */
	unsigned connections; /* 512 in all */
	unsigned connections_per_address; /* 128 */
	int64_t header_deadline_us, body_deadline_us, response_deadline_us, stream_deadline_us, idle_us;
	int64_t session_idle_us, session_absolute_us; /* 8 h, 7 d */
	const char *login_order; /* providers of passwords, with blanks between: "own unix" */
	const char *proxy_user; /* "": no proxy has a socket of its own */
	const char *proxy_socket; /* where; in the data directory unless set */
	const char *proxy_user_header, *proxy_groups_header, *proxy_address_header; /* "": not taken from there */
	const char *pam_service; /* "drydock": the file in /etc/pam.d */
	int64_t password_deadline_us, nss_deadline_us; /* 10 s, 3 s */
	int64_t group_cache_us; /* 60 s */
	int64_t event_keep_us; /* 90 d */
	const char *mail_server; /* smtp:// or smtps://; "" with sendmail */
	const char *sendmail; /* a command in its place */
	const char *notice_ca_file; /* "": the system's authorities */
	const char *mail_from, *mail_user, *mail_password_file; /* user "": without a login */
	unsigned check_hour; /* 2: UTC; 24: never */
	const char *log_level;
	const struct conf_site *sites;
	size_t n_sites;
};

/* Parse, check (bounds, names, staging/data/places apart) and build; everything const and owned by *out. */
enum err conf_load(struct conf **out, const char *file) MUST_CHECK;
/* The same without looking at the directories that it names: for a process that may not see them (the monitor). */
enum err conf_load_unchecked(struct conf **out, const char *file) MUST_CHECK;
void conf_free(struct conf *c);
const struct conf_site *conf_site(const struct conf *c, const char *name); /* NULL */
const struct conf_target *conf_target(const struct conf_site *s, const char *name); /* NULL */

/*
 * What differs between two configurations: fn for each option, "site www: quiet_period" or "port", and whether the
 * running daemon takes it up (the reload flag).
 */
void conf_compare(const struct conf *a, const struct conf *b, void (*fn)(void *arg, const char *option, bool reload), void *arg);

void conf_help(FILE *out); /* --help-config */
void conf_sample(FILE *out); /* the sample file, from the table */

/*
 * Where the program's own files are: the source tree when it runs from the build tree, else share/drydock beside the
 * directory of the program, else where configure said. Valid until the process ends.
 */
const char *conf_share_dir(void);
const char *conf_libexec_dir(void); /* the same for kits that are programs: libexec/drydock, or the build tree's */

/* --- values with units, as the file writes them (conf/units.c) ------------------------------------------------------ */

/* "5min", "1h 30min", "250ms"; units us ms s min h d w. A number without unit is refused, but for 0. */
enum err conf_duration(int64_t *us, const char *text) MUST_CHECK;
/* "2GiB", "500kB", "100B"; units B kB MB GB KiB MiB GiB TiB. */
enum err conf_size(uint64_t *bytes, const char *text) MUST_CHECK;
void conf_duration_text(int64_t us, struct buf *out); /* "5min" */
void conf_size_text(uint64_t bytes, struct buf *out); /* "2GiB" */

#endif
