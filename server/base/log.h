/*
 * log: one line an event on standard error, key=value, in UTC.
 *
 * Values are outside text: control bytes, quotes and bad UTF-8 are made visible here, so that no caller can forget it.
 * Never log a secret or a form body. The log is not the audit record.
 */
#ifndef DRYDOCK_BASE_LOG_H
#define DRYDOCK_BASE_LOG_H

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/*
 * log_event(LOG_LEVEL_INFO, "sync.done", "site", site, "run", log_u64(n), NULL): pairs of strings, then NULL.
 * A NULL value is written as "-".
 */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));
/* A number as a string in one of sixteen per-thread slots: good inside one log_event call. */
const char *log_u64(unsigned long long v);
void log_level_set(enum log_level least);
/* The id that log lines of this thread carry (req=...); "" for none. Borrowed until changed. */
void log_request_set(const char *id);

#endif
