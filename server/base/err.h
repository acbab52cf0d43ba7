/*
 * err: the one error code of the program, with a sentence beside it.
 *
 * Functions return a code; the sentence goes to a per-thread slot and says what happened and, where a person can act,
 * what to do. A code exists only because some caller acts on it. The sentence may name paths: who shows it to a person
 * has checked that he may see them; web/reply.c is the only place that turns a code into a status.
 */
#ifndef DRYDOCK_BASE_ERR_H
#define DRYDOCK_BASE_ERR_H

#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
	ERR_OK = 0,
	ERR_INPUT,     /* what was asked is malformed: 400, exit 1 */
	ERR_DENIED,    /* known, but not allowed: 403, exit 3 */
	ERR_NOT_FOUND, /* does not exist, or not for this person: 404, exit 2 */
	ERR_STALE,     /* the world moved on since it was shown: 409, exit 4 */
	ERR_BUSY,      /* try again later: 503, exit 6 */
	ERR_WAIT,      /* he tries too often: 429, exit 6; err_wait_seconds() says for how long to wait */
	ERR_TOO_BIG,   /* over a stated limit: 413, exit 1 */
	ERR_RETRY,     /* inside a transaction: run it again (tx_run does) */
	ERR_FAILED,    /* ours or the machine's fault; look in the log: 500, exit 6 */
};

/* Set the sentence and return the code, so that one can write: return err_set(ERR_INPUT, "...", ...). */
enum err err_set(enum err code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same with ": " and strerror(errno) behind it. */
enum err err_sys(enum err code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Put "prefix: " before the sentence that is there; returns code. */
enum err err_prefix(enum err code, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* ERR_WAIT, with the seconds after which another try is taken. */
enum err err_wait(unsigned seconds, const char *fmt, ...) PRINTF_LIKE(2, 3);
unsigned err_wait_seconds(void); /* of the thread's last err_wait() */
/* The calling thread's last sentence; "" if none. Valid until its next err_ call. */
const char *err_text(void);
/* A word for the code: "input", "denied", ... for logs and problem types. */
const char *err_name(enum err code);

#endif
