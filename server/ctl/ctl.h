/*
 * ctl: `drydock`, the command line: a client of the API, over the server's local socket or over HTTP(S).
 *
 * Exit codes: 0 done, 1 usage, 2 not found, 3 refused, 4 conflict, 5 cannot reach, 6 failed. Readable by people by
 * default; --json prints what the API answers.
 */
#ifndef DRYDOCK_CTL_CTL_H
#define DRYDOCK_CTL_CTL_H

#include <pthread.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

enum ctl_exit { EXIT_DONE, EXIT_USAGE, EXIT_NOT_FOUND, EXIT_REFUSED, EXIT_CONFLICT, EXIT_UNREACHABLE, EXIT_BROKEN };

/* Every option of every command; a command's row says which of them it takes. */
struct options {
	const char *server, *data, *site;
	bool json, help, recursive, all, scan, as_staged, content, staged, remove, not_alone, take_down, follow;
	const char *note, *selection, *from, *id, *user, *act, *since, *until, *limit, *state, *reviews, *plan, *release;
	const char *password_file, *display, *token_file, *role, *path, *expires, *name, *process, *paper, *meaning, *pattern, *largest, *label, *type, *place, *target;
	bool required;
	const char *choices[128], *fields[64];
	int n_choices, n_fields; /* -1: too many */
	const char *output; /* -o: a file, "-": standard output */
	bool current;
	const char *keys[64]; /* --key, as often as it was given */
	int n_keys;
	int enabled; /* -1: not said */
	const char *args[4096]; /* what is not an option */
	int n_args;
};

/* Where the server is, and how it is spoken to: socket.c or curl.c. */
struct ctl;
struct transport {
	/* body NULL: none. answer and content type are replaced; EXIT_DONE means that an answer came, whatever its status. */
	enum ctl_exit (*call)(struct ctl *c, const char *method, const char *target, const char *body, size_t body_len);
};

struct ctl {
	const struct options *o;
	const struct transport *transport;
	const char *place; /* socket path, or URL without a trailing slash */
	struct arena *arena;
	int status; /* of the last answer */
	struct buf answer;
	int sink; /* >= 0: the body of an answer with status 200 and a known length goes there, not to `answer`; -1: none */
	bool sunk; /* it did */
	void *handle; /* libcurl's */
	bool quiet; /* what cannot be reached is not said */
	struct progress *line; /* on the terminal, to be taken away when an answer came; NULL: none */
	char cookie[512], csrf[128]; /* over HTTP: of the session */
	char token[128]; /* or an API token in their place */
};

extern const struct transport transport_socket, transport_curl;

/* session.c: the login over HTTP, kept in $XDG_CONFIG_HOME/drydock (0600). */
void session_load(struct ctl *c);
/* An API token from --token-file or DRYDOCK_TOKEN_FILE, which only its owner may read; false after a sentence was printed. */
bool token_load(struct ctl *c);
enum ctl_exit session_save(struct ctl *c);
void session_drop(struct ctl *c);

/* call.c */
/* One call to the API below /api/v1; *root gets the JSON answer (may be NULL if it is not wanted). Problems are printed. */
enum ctl_exit ctl_get(struct ctl *c, const char *target, json_t **root);
enum ctl_exit ctl_post(struct ctl *c, const char *target, json_t *body, json_t **root); /* takes body */
enum ctl_exit ctl_raw(struct ctl *c, const char *target); /* the bytes to standard output */
/* "/sites/<site><tail>" in the arena; "-" without --site: the only one that he sees. */
const char *ctl_site(struct ctl *c, const char *tail);
/* Append name=value, percent-encoded, with ? or & as needed; value NULL: nothing. */
const char *ctl_query(struct ctl *c, const char *target, const char *name, const char *value);
/* The path that a person typed: "/docs/", "docs" become "/docs". */
const char *ctl_path(struct ctl *c, const char *typed);
/* Print the last answer as it came (--json). */
void ctl_print_answer(struct ctl *c);
enum ctl_exit ctl_problem(struct ctl *c); /* say what the last answer's problem was */

/* manage.c: what commands share */
/* Get, and print it as it came or item by item; `empty` is the sentence for an empty list. */
enum ctl_exit ctl_list(struct ctl *c, const char *target, void (*item_print)(const json_t *item), const char *empty);
/* An act on anything but files: adds id and note, takes body, prints its record. */
enum ctl_exit ctl_act(struct ctl *c, const char *target, json_t *body, const char *done_text);
enum ctl_exit ctl_usage(const char *text);
bool ctl_is(const struct ctl *c, int arg, const char *word);
/* From --password-file, or from the terminal without echo; NULL after a sentence was printed. In the arena. */
const char *ctl_password(struct ctl *c, bool twice);

/* back.c */
enum ctl_exit ctl_rollback(struct ctl *c, const char *number);
void ctl_print_report(const json_t *report); /* what production found; nothing if null */
void ctl_print_change(const json_t *item); /* "change  /path  who" */
void ctl_print_plan(const json_t *plan, const char *empty);
/* After a conflict: what the server says that it would be now; digest_text takes its digest. */
void ctl_print_now(struct ctl *c, const char *digest_text);

/* field.c */
/* What an act asks for (the answer of /selection): from --field, required ones from the terminal, into the body. */
enum ctl_exit ctl_fill_in(struct ctl *c, const json_t *shown, json_t *body);
void print_filled(const json_t *record); /* of a list: name and value */
void print_asked(const json_t *record); /* of one record: as it was asked then */

/* hold.c */
enum ctl_exit ctl_hold(struct ctl *c, const char *path);
enum ctl_exit ctl_lift(struct ctl *c, const char *path);

/* progress.c */
/* While a call of cmd_act waits for its answer, a line on the terminal tells how far the act with that id is. */
struct progress {
	struct ctl poll;
	const char *target;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool started, over, shown;
};
void progress_begin(struct progress *p, struct ctl *c, const char *id);
void progress_end(struct progress *p); /* takes the line away; again: nothing */
const char *ctl_new_id(struct ctl *c); /* a UUID; NULL: the kernel gave no randomness */
/* "310 of 1000", of a target that says how far it is. */
const char *ctl_far(const json_t *target, char out[64]);
/* The answer to GET /sync once nothing runs or is about to; meanwhile a line on the terminal, if there is one. */
enum ctl_exit ctl_follow_sync(struct ctl *c, const char *target, json_t **root);

/* print.c */
void print_state(const char *state); /* symbol and word, padded */
const char *print_time(const char *rfc3339, char out[64]); /* local time and how long ago */
void print_text(const char *text); /* control bytes made visible */
/* A member of an answer: "" and 0 if it is not there. */
const char *text_of(const json_t *obj, const char *name);
long long number_of(const json_t *obj, const char *name);
const char *plural_of(const json_t *obj, const char *name); /* "" for a number that is 1, else "s" */
bool ask_yes(const char *question); /* on the terminal; no by default */

typedef enum ctl_exit command_fn(struct ctl *c);
command_fn cmd_status, cmd_act, cmd_log, cmd_diff, cmd_show, cmd_role, cmd_access, cmd_preapprove, cmd_field, cmd_sync, cmd_release, cmd_user,
    cmd_group, cmd_site, cmd_target, cmd_whoami, cmd_login, cmd_logout, cmd_token, cmd_session, cmd_counter, cmd_reapprove, cmd_hold,
    cmd_queue, cmd_notice, cmd_event, cmd_evidence, cmd_verify;

#endif
