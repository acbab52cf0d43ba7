/*
 * unix: users and groups of the machine, as a provider. NSS is asked in children of the helper process, with a deadline
 * for each question; they are kept for the next one. When one has hung, nobody waits for a while: a user database that
 * does not answer must not take all workers with it. Without a helper (an offline command) NSS is asked here.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "auth/helper.h"
#include "auth/internal.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

#define REST (5 * CLOCK_SECOND) /* after a question that was not answered */

static int take_idle(struct auth *a)
{
	int fd = -1;

	pthread_mutex_lock(&a->nss.lock);
	if (a->nss.n_idle)
		fd = a->nss.idle[--a->nss.n_idle];
	pthread_mutex_unlock(&a->nss.lock);
	return fd;
}

static void keep_idle(struct auth *a, int fd)
{
	pthread_mutex_lock(&a->nss.lock);
	if (a->nss.n_idle < NSS_IDLE) {
		a->nss.idle[a->nss.n_idle++] = fd;
		fd = -1;
	}
	pthread_mutex_unlock(&a->nss.lock);
	if (fd >= 0)
		(void)close(fd);
}

void unix_close(struct auth *a)
{
	while (a->nss.n_idle)
		(void)close(a->nss.idle[--a->nss.n_idle]);
}

/* While it is down one at a time tries whether it is back. */
static bool may_ask(struct auth *a)
{
	bool may;

	pthread_mutex_lock(&a->nss.lock);
	may = !a->nss.down || (!a->nss.probing && clock_boot() >= a->nss.down_until);
	if (a->nss.down && may)
		a->nss.probing = true;
	pthread_mutex_unlock(&a->nss.lock);
	return may;
}

static void was_asked(struct auth *a, bool answered)
{
	bool changed;

	pthread_mutex_lock(&a->nss.lock);
	changed = a->nss.down == answered;
	a->nss.down = !answered;
	a->nss.probing = false;
	a->nss.down_until = clock_boot() + REST;
	pthread_mutex_unlock(&a->nss.lock);
	if (changed)
		log_event(answered ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, answered ? "auth.nss.back" : "auth.nss.down", "why",
		    answered ? "" : err_text(), NULL);
}

static enum err exchange(int fd, const struct buf *request, struct buf *answer, int64_t until)
{
	enum err err = crew_send(fd, request->p, request->len, until);

	if (!err)
		err = crew_receive(fd, answer, until);
	return !err && !answer->len ? err_set(ERR_FAILED, "the helper process said nothing") : err;
}

static enum err ask_helper(struct auth *a, const struct buf *request, struct buf *answer)
{
	int64_t until = clock_boot() + a->o.nss_deadline_us;
	int fd = take_idle(a);
	enum err err = ERR_FAILED;

	if (fd >= 0 && (err = exchange(fd, request, answer, until)) == ERR_FAILED) {
		(void)close(fd); /* it ended while it waited for us */
		fd = -1;
	}
	if (fd < 0 && !(err = crew_call(a->o.nss, &fd)))
		err = exchange(fd, request, answer, until);
	if (!err)
		keep_idle(a, fd);
	else if (fd >= 0)
		(void)close(fd); /* one that hangs is ended by its own deadline */
	return err;
}

/* What NSS says: texts, each with its NUL, from answer->p + 1 on. */
static enum err ask(struct auth *a, char question, const char *name, struct buf *answer)
{
	struct buf request = BUF_INIT(PRINCIPAL_LIMIT + 2);
	enum err err;

	if (strlen(name) > PRINCIPAL_LIMIT)
		return err_set(ERR_NOT_FOUND, "The machine has no such name.");
	if (a->o.nss <= 0) {
		buf_char(answer, '\0');
		return nss_answer(question, name, answer);
	}
	if (!may_ask(a))
		return err_set(ERR_BUSY, "The users of this machine cannot be asked now. Try again in a moment.");
	buf_char(&request, question);
	buf_add(&request, name, strlen(name) + 1);
	err = ask_helper(a, &request, answer);
	buf_release(&request);
	was_asked(a, !err);
	if (err)
		return err_set(ERR_BUSY, "The users of this machine cannot be asked now. Try again in a moment.");
	err = (enum err)answer->p[0];
	if (answer->len < 2 || answer->p[answer->len - 1] != '\0') /* only a group that is there has nothing to say */
		return err || answer->len != 1 ? err_set(ERR_FAILED, "the helper process's answer is not understood") : ERR_OK;
	return err ? err_set(err, "%s", answer->p + 1) : ERR_OK;
}

static const char *next_text(const struct buf *answer, const char *before)
{
	const char *next = before ? before + strlen(before) + 1 : answer->p + 1;

	return next < answer->p + answer->len ? next : NULL;
}

static enum err unix_user(struct auth *au, struct db *db, const char *name, struct provider_user *out, struct arena *a)
{
	struct buf answer = BUF_INIT(NSS_ANSWER);
	enum err err = ask(au, NSS_USER, name, &answer);
	const char *text = err ? NULL : next_text(&answer, NULL);

	(void)db;
	if (text) {
		out->display = arena_dup(a, text);
		out->enabled = true;
		while ((text = next_text(&answer, text)))
			provider_user_group(out, a, arena_dup(a, text));
	}
	buf_release(&answer);
	return err;
}

static enum err unix_group(struct auth *a, struct db *db, const char *name)
{
	struct buf answer = BUF_INIT(NSS_ANSWER);
	enum err err = ask(a, NSS_GROUP, name, &answer);

	(void)db;
	buf_release(&answer);
	return err;
}

static enum err unix_members(struct auth *a, struct db *db, const char *group, void (*fn)(void *arg, const char *principal), void *arg)
{
	struct buf answer = BUF_INIT(NSS_ANSWER);
	enum err err = ask(a, NSS_MEMBERS, group, &answer);

	(void)db;
	if (!err)
		for (const char *text = next_text(&answer, NULL); text; text = next_text(&answer, text))
			fn(arg, text);
	buf_release(&answer);
	return err;
}

const struct provider provider_unix = { "unix", unix_user, unix_group, unix_members };

/* The uid that the kernel shows for users of other name spaces: everybody unknown, so nobody. */
static uid_t overflow_uid(void)
{
	struct buf b = BUF_INIT(32);
	uid_t uid = 65534;

	if (file_read(AT_FDCWD, "/proc/sys/kernel/overflowuid", &b) == ERR_OK && b.len)
		uid = (uid_t)strtoul(b.p, NULL, 10);
	buf_release(&b);
	return uid;
}

enum err unix_name(struct auth *au, uid_t uid, const char **name, struct arena *a)
{
	struct buf answer = BUF_INIT(NSS_ANSWER);
	const char *text;
	enum err err;

	if (uid == (uid_t)-1 || uid == overflow_uid())
		return err_set(ERR_DENIED, "The UNIX user of this connection is not known here.");
	err = ask(au, NSS_NAME, arena_printf(a, "%lu", (unsigned long)uid), &answer);
	if (!err && (text = next_text(&answer, NULL)))
		*name = arena_dup(a, text);
	else if (!err || err == ERR_NOT_FOUND)
		err = err_set(ERR_DENIED, "The UNIX user with number %lu is not known here.", (unsigned long)uid);
	buf_release(&answer);
	return err;
}

enum err auth_uid(struct auth *au, const char *principal, uid_t *out)
{
	struct buf answer = BUF_INIT(NSS_ANSWER);
	const char *text = NULL;
	enum err err;

	*out = (uid_t)-1;
	if (!au || strncmp(principal, "unix:", 5) != 0 || principal_is_group(principal))
		return err_set(ERR_NOT_FOUND, "%s is not a user of the machine.", principal);
	err = ask(au, NSS_UID, principal + 5, &answer);
	if (!err && !(text = next_text(&answer, NULL)))
		err = err_set(ERR_NOT_FOUND, "The machine has no such user.");
	if (!err)
		*out = (uid_t)strtoul(text, NULL, 10);
	buf_release(&answer);
	return err;
}
