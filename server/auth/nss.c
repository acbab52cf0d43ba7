/*
 * nss: what NSS says of the machine's users and groups, as a list of texts. NSS may wait for a network (LDAP) that does
 * not answer: in a server these questions are asked in children of a helper process, and this file runs there.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

#include "auth/helper.h"
#include "auth/internal.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"

/* Grow the buffer that NSS asked for; false when it is past all reason. */
static bool larger(char **buffer, size_t *size)
{
	if (*size >= NSS_LIMIT)
		return false;
	free(*buffer);
	*size *= 2;
	*buffer = mem_alloc(*size);
	return true;
}

static bool is_unknown(int status)
{
	/* What getpwnam(3) lists for "no such name", besides success with no result. */
	return status == 0 || status == ENOENT || status == ESRCH || status == EBADF || status == EPERM;
}

/* By name, or by uid if name is NULL. *buffer is the caller's to free. */
static enum err passwd_of(const char *name, uid_t uid, struct passwd *pw, char **buffer)
{
	struct passwd *found = NULL;
	size_t size = 4096;
	int status;

	*buffer = mem_alloc(size);
	do
		status = name ? getpwnam_r(name, pw, *buffer, size, &found) : getpwuid_r(uid, pw, *buffer, size, &found);
	while (status == EINTR || (status == ERANGE && larger(buffer, &size)));
	if (found)
		return ERR_OK;
	if (is_unknown(status))
		return err_set(ERR_NOT_FOUND, "The machine has no such user.");
	errno = status;
	return err_sys(ERR_BUSY, "The machine's users cannot be asked now");
}

static enum err group_of(const char *name, gid_t gid, struct group *gr, char **buffer)
{
	struct group *found = NULL;
	size_t size = 4096;
	int status;

	*buffer = mem_alloc(size);
	do
		status = name ? getgrnam_r(name, gr, *buffer, size, &found) : getgrgid_r(gid, gr, *buffer, size, &found);
	while (status == EINTR || (status == ERANGE && larger(buffer, &size)));
	if (found)
		return ERR_OK;
	if (is_unknown(status))
		return err_set(ERR_NOT_FOUND, "The machine has no such group.");
	errno = status;
	return err_sys(ERR_BUSY, "The machine's groups cannot be asked now");
}

static void put(struct buf *out, const char *text)
{
	buf_add(out, text, strlen(text) + 1);
}

static void put_principal(struct buf *out, const char *prefix, const char *name)
{
	char *principal = mem_printf("%s%s", prefix, name);

	/* One without a usable name is left out, since no rule can name it. */
	if (principal_valid(principal))
		put(out, principal);
	free(principal);
}

/* The first field of GECOS, if it is text. */
static void put_display(struct buf *out, const struct passwd *pw)
{
	size_t n = pw->pw_gecos ? strcspn(pw->pw_gecos, ",") : 0;

	if (n && n <= 128 && utf8_clean(pw->pw_gecos, n, false)) {
		buf_add(out, pw->pw_gecos, n);
		buf_char(out, '\0');
	} else {
		put(out, pw->pw_name);
	}
}

static enum err put_groups(struct buf *out, const struct passwd *pw)
{
	int cap = 64, n;
	gid_t *list = NULL;
	enum err err = ERR_OK;

	for (;;) {
		list = mem_array((size_t)cap, sizeof *list);
		n = cap;
		if (getgrouplist(pw->pw_name, pw->pw_gid, list, &n) >= 0)
			break;
		free(list);
		if (cap >= GROUPS_LIMIT)
			return err_set(ERR_DENIED, "The UNIX user %s is in more than %d groups.", pw->pw_name, GROUPS_LIMIT);
		cap = n > cap && n < GROUPS_LIMIT ? n : cap * 2;
	}
	for (int i = 0; i < n && !err; i++) {
		struct group gr;
		char *buffer;

		err = group_of(NULL, list[i], &gr, &buffer);
		if (!err)
			put_principal(out, "unix:@", gr.gr_name);
		else if (err == ERR_NOT_FOUND)
			err = ERR_OK;
		free(buffer);
	}
	free(list);
	return err;
}

static enum err user(const char *name, struct buf *out)
{
	struct passwd pw;
	char *buffer;
	enum err err = passwd_of(name, 0, &pw, &buffer);

	/* Some NSS modules match names without regard to case: a principal is spelled one way only. */
	if (!err && strcmp(pw.pw_name, name) != 0)
		err = err_set(ERR_NOT_FOUND, "The machine has no such user.");
	if (!err) {
		put_display(out, &pw);
		err = put_groups(out, &pw);
	}
	free(buffer);
	return err;
}

static enum err name_of(const char *number, struct buf *out)
{
	struct passwd pw;
	char *buffer;
	enum err err = passwd_of(NULL, (uid_t)strtoul(number, NULL, 10), &pw, &buffer);

	if (!err)
		put(out, pw.pw_name);
	free(buffer);
	return err;
}

static enum err uid_of(const char *name, struct buf *out)
{
	struct passwd pw;
	char *buffer, number[16];
	enum err err = passwd_of(name, 0, &pw, &buffer);

	if (!err && strcmp(pw.pw_name, name) != 0)
		err = err_set(ERR_NOT_FOUND, "The machine has no such user.");
	if (!err) {
		snprintf(number, sizeof(number), "%lu", (unsigned long)pw.pw_uid);
		put(out, number);
	}
	free(buffer);
	return err;
}

static enum err group(const char *name, struct buf *out)
{
	struct group gr;
	char *buffer;
	enum err err = group_of(name, 0, &gr, &buffer);

	(void)out;
	if (!err && strcmp(gr.gr_name, name) != 0)
		err = err_set(ERR_NOT_FOUND, "The machine has no such group.");
	free(buffer);
	return err;
}

/* setpwent and getpwent keep their place in the process: one walk at a time, where there is no helper. */
static pthread_mutex_t walk_lock = PTHREAD_MUTEX_INITIALIZER;

static enum err members(const char *name, struct buf *out)
{
	struct group gr;
	char *buffer;
	enum err err = group_of(name, 0, &gr, &buffer);
	gid_t gid;

	if (err) {
		free(buffer);
		return err;
	}
	gid = gr.gr_gid;
	for (char **m = gr.gr_mem; m && *m; m++)
		put_principal(out, "unix:", *m);
	free(buffer);

	/* Those whose first group it is are in the list of users only. */
	buffer = mem_alloc(NSS_LIMIT);
	pthread_mutex_lock(&walk_lock);
	setpwent();
	for (;;) {
		struct passwd pw, *found = NULL;

		if (getpwent_r(&pw, buffer, NSS_LIMIT, &found) != 0 || !found)
			break;
		if (pw.pw_gid == gid)
			put_principal(out, "unix:", pw.pw_name);
	}
	endpwent();
	pthread_mutex_unlock(&walk_lock);
	free(buffer);
	return ERR_OK;
}

enum err auth_unix_uid(const char *name, uid_t *uid)
{
	struct passwd pw;
	char *buffer;
	enum err err = passwd_of(name, 0, &pw, &buffer);

	if (!err && pw.pw_uid == 0)
		err = err_set(ERR_INPUT, "%s is root: a proxy that is believed runs as another user", name);
	else if (err)
		err = err_set(ERR_INPUT, "there is no UNIX user %s", name);
	else
		*uid = pw.pw_uid;
	free(buffer);
	return err;
}

enum err nss_answer(char question, const char *name, struct buf *out)
{
	enum err err;

	switch (question) {
	case NSS_USER: err = user(name, out); break;
	case NSS_NAME: err = name_of(name, out); break;
	case NSS_UID: err = uid_of(name, out); break;
	case NSS_GROUP: err = group(name, out); break;
	case NSS_MEMBERS: err = members(name, out); break;
	default: return err_set(ERR_INPUT, "not a question");
	}
	return err ? err : buf_check(out);
}

void nss_work(int fd, void *deadline)
{
	struct buf request = BUF_INIT(PRINCIPAL_LIMIT + 2), answer = BUF_INIT(NSS_ANSWER);

	while (crew_receive(fd, &request, 0) == ERR_OK && request.len > 1 && request.p[request.len - 1] == '\0') {
		enum err err;

		crew_deadline(*(const int64_t *)deadline);
		buf_reset(&answer);
		buf_char(&answer, (char)ERR_OK);
		err = nss_answer(request.p[0], request.p + 1, &answer);
		if (err) {
			buf_reset(&answer);
			buf_char(&answer, (char)err);
			put(&answer, err_text());
		}
		if (crew_send(fd, answer.p, answer.len, 0))
			break;
		crew_deadline(0);
	}
}
