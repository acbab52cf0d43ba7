/*
 * One line on the terminal that is written anew: how far a long act is, asked of the server beside the call that waits for the
 * answer; and how far a sync is.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "ctl/ctl.h"

#define FIRST_MS 1000 /* acts that are over by then say nothing */
#define EACH_MS 300
#define LINE_WIDTH 78 /* of the shortest terminals: one that wraps would not be written anew */

static const char *step_words(const char *step)
{
	static const struct {
		const char *step, *words;
	} list[] = { { "select", "looking at the list" }, { "read", "reading the files" }, { "wait", "waiting for another act on this site" },
		{ "record", "recording" }, { "export", "recorded; bringing the image of production along" } };

	for (size_t i = 0; i < sizeof list / sizeof *list; i++)
		if (strcmp(list[i].step, step) == 0)
			return list[i].words;
	return "waiting for its turn";
}

static void show(struct progress *p)
{
	json_t *root = NULL;
	char line[128];
	int n;

	if (p->poll.transport->call(&p->poll, "GET", p->target, NULL, 0) || p->poll.status != 200 ||
	    json_parse(&root, buf_text(&p->poll.answer), p->poll.answer.len))
		return;
	const char *step = text_of(root, "step");
	n = snprintf(line, sizeof line, "drydock: %s", step_words(step));
	if (strcmp(step, "read") == 0)
		n += snprintf(line + n, sizeof line - (size_t)n, ": %lld of %lld", number_of(root, "done"), number_of(root, "total"));
	n += snprintf(line + n, sizeof line - (size_t)n, "\033[K\r");
	json_decref(root);
	if (write(STDERR_FILENO, line, (size_t)n) == n)
		p->shown = true;
}

/* The cursor stays at the begin of the line, so that whatever is said next takes its place. True if the act is over. */
static bool pause_ms(struct progress *p, long ms)
{
	struct timespec until;

	clock_deadline(ms * 1000, &until);
	pthread_mutex_lock(&p->lock);
	while (!p->over && pthread_cond_timedwait(&p->cond, &p->lock, &until) == 0)
		;
	const bool over = p->over;
	pthread_mutex_unlock(&p->lock);
	return over;
}

static void *follow(void *arg)
{
	struct progress *p = arg;

	for (long ms = FIRST_MS; !pause_ms(p, ms); ms = EACH_MS)
		show(p);
	return NULL;
}

const char *ctl_new_id(struct ctl *c)
{
	unsigned char b[16];

	if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
		return NULL;
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	return arena_printf(c->arena, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5],
	    b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

void progress_begin(struct progress *p, struct ctl *c, const char *id)
{
	memset(p, 0, sizeof *p);
	if (!id || !isatty(STDERR_FILENO))
		return;
	p->poll = *c;
	p->poll.quiet = true;
	p->poll.arena = arena_new();
	p->poll.answer = BUF_INIT(1 << 16);
	p->target = ctl_site(&p->poll, arena_printf(p->poll.arena, "/acts/%s", id));
	pthread_mutex_init(&p->lock, NULL);
	clock_cond_init(&p->cond);
	p->started = pthread_create(&p->thread, NULL, follow, p) == 0;
}

void progress_end(struct progress *p)
{
	if (p->started) {
		pthread_mutex_lock(&p->lock);
		p->over = true;
		pthread_cond_signal(&p->cond);
		pthread_mutex_unlock(&p->lock);
		pthread_join(p->thread, NULL);
	}
	if (p->shown)
		(void)!write(STDERR_FILENO, "\033[K", 3);
	if (p->poll.arena) {
		pthread_cond_destroy(&p->cond);
		pthread_mutex_destroy(&p->lock);
		buf_release(&p->poll.answer);
		arena_free(p->poll.arena);
	}
	*p = (struct progress){ .started = false };
}

/* --- a sync ------------------------------------------------------------------------------------------------------------ */

const char *ctl_far(const json_t *target, char out[64])
{
	const long long done = number_of(target, "done"), total = number_of(target, "total");

	if (total)
		snprintf(out, 64, "%lld of %lld", done, total);
	else
		snprintf(out, 64, "%lld done", done);
	return out;
}

static void show_sync(const json_t *root)
{
	char line[LINE_WIDTH + 8], far[64];
	json_t *item;
	const char *sep = ":";
	size_t i, n = (size_t)snprintf(line, sizeof line, "drydock: run %lld", number_of(root, "run"));

	json_array_foreach(json_object_get(root, "targets"), i, item) {
		const bool told = json_is_integer(json_object_get(item, "done"));

		if (strcmp(text_of(item, "state"), "sending") || n >= LINE_WIDTH)
			continue;
		n += (size_t)snprintf(line + n, sizeof line - n, "%s %s%s%s", sep, text_of(item, "name"), told ? " " : "", told ? ctl_far(item, far) : "");
		sep = ",";
	}
	if (n > LINE_WIDTH)
		n = LINE_WIDTH;
	n += (size_t)snprintf(line + n, sizeof line - n, "\033[K\r");
	(void)!write(STDERR_FILENO, line, n);
}

/* Runs, or is about to: unless something keeps it from that. */
static bool sync_is_on(const json_t *root)
{
	return json_is_true(json_object_get(root, "running")) ||
	    (!strcmp(text_of(root, "because"), "forced") && !*text_of(root, "trouble") && !*text_of(root, "held_until"));
}

enum ctl_exit ctl_follow_sync(struct ctl *c, const char *target, json_t **root)
{
	const struct timespec pause = { .tv_nsec = EACH_MS * 1000000L };
	const bool terminal = isatty(STDERR_FILENO);
	enum ctl_exit rc;

	while (rc = ctl_get(c, target, root), !rc && sync_is_on(*root)) {
		if (terminal)
			show_sync(*root);
		json_decref(*root);
		*root = NULL;
		nanosleep(&pause, NULL);
	}
	if (terminal)
		(void)!write(STDERR_FILENO, "\033[K", 3);
	return rc;
}
