/*
 * pam: passwords of UNIX users, through PAM, in children of the helper process that the monitor keeps as root.
 *
 * A request is name, password and the client's address; an answer is one letter and, for the log, a sentence. Each try has
 * a child of its own, which PAM's modules may hang, leak in or crash, and which the kernel kills when its time is over.
 * The only question of a module that is answered is the one for the password, once.
 */
#include <security/pam_appl.h>

#include <pwd.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "auth/helper.h"
#include "auth/internal.h"
#include "base/clock.h"
#include "base/weaken.h"

#define REQUEST_LIMIT (PRINCIPAL_LIMIT + PASSWORD_LIMIT + 64 + 3)
#define NICE 10 /* a hash costs much, and pages come first */

/* --- in the child, as root ------------------------------------------------------------------------------------------ */

struct talk {
	const char *password;
	bool asked;
};

/* PAM frees what it is given. */
static int conversation(int n, const struct pam_message **questions, struct pam_response **out, void *arg)
{
	struct talk *t = arg;
	struct pam_response *answers;

	if (n <= 0 || n > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	answers = mem_array((size_t)n, sizeof(*answers));
	for (int i = 0; i < n; i++) {
		int style = questions[i]->msg_style;

		if (style == PAM_TEXT_INFO || style == PAM_ERROR_MSG)
			continue;
		if (style != PAM_PROMPT_ECHO_OFF || t->asked)
			goto refuse;
		t->asked = true;
		answers[i].resp = mem_dup(t->password);
	}
	*out = answers;
	return PAM_SUCCESS;
refuse:
	for (int i = 0; i < n; i++)
		if (answers[i].resp) {
			explicit_bzero(answers[i].resp, strlen(answers[i].resp));
			free(answers[i].resp);
		}
	free(answers);
	return PAM_CONV_ERR;
}

/* A failure waits as long as any other one in auth_login(), not as long as a module likes. */
static void no_delay(int status, unsigned us, void *arg)
{
	(void)status;
	(void)us;
	(void)arg;
}

static enum pam_verdict verdict_of(int status)
{
	switch (status) {
	case PAM_SUCCESS:
		return PAM_VERDICT_RIGHT;
	case PAM_AUTH_ERR:
	case PAM_USER_UNKNOWN:
	case PAM_MAXTRIES:
	case PAM_PERM_DENIED:
	case PAM_CRED_INSUFFICIENT:
		return PAM_VERDICT_WRONG;
	case PAM_NEW_AUTHTOK_REQD:
		return PAM_VERDICT_EXPIRED;
	default:
		return PAM_VERDICT_UNAVAILABLE;
	}
}

/* Who may come in with the right password: root does not, over a network. */
static enum pam_verdict account(pam_handle_t *h, const char *name, const char **why)
{
	const void *now = NULL;
	struct passwd *pw;
	int status = WEAK(pam_account) ? PAM_SUCCESS : pam_acct_mgmt(h, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);

	if (status != PAM_SUCCESS) {
		*why = mem_printf("the account is refused: %s", pam_strerror(h, status)); /* the process ends soon */
		return status == PAM_NEW_AUTHTOK_REQD ? PAM_VERDICT_EXPIRED : PAM_VERDICT_REFUSED;
	}
	if (pam_get_item(h, PAM_USER, &now) != PAM_SUCCESS || !now || strcmp(now, name) != 0) {
		*why = "PAM made another user of this one";
		return PAM_VERDICT_REFUSED;
	}
	pw = getpwnam(name);
	if (!pw || (pw->pw_uid == 0 && !WEAK(pam_root))) {
		*why = pw ? "root does not log in with a password" : "NSS does not know this user";
		return PAM_VERDICT_REFUSED;
	}
	return PAM_VERDICT_RIGHT;
}

static enum pam_verdict ask_pam(const char *service, const char *name, const char *password, const char *address, const char **why)
{
	struct talk t = { .password = password };
	const struct pam_conv conv = { conversation, &t };
	pam_handle_t *h = NULL;
	enum pam_verdict verdict;
	int status = pam_start(service, name, &conv, &h);

	if (status == PAM_SUCCESS)
		status = pam_set_item(h, PAM_FAIL_DELAY, (const void *)no_delay);
	if (status == PAM_SUCCESS && *address)
		status = pam_set_item(h, PAM_RHOST, address);
	if (status == PAM_SUCCESS)
		status = pam_set_item(h, PAM_TTY, "drydock");
	if (status != PAM_SUCCESS) {
		*why = pam_strerror(h, status);
		return PAM_VERDICT_UNAVAILABLE; /* the process ends: nothing to release */
	}
	status = pam_authenticate(h, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
	verdict = verdict_of(status);
	*why = pam_strerror(h, status);
	if (verdict == PAM_VERDICT_RIGHT)
		verdict = account(h, name, why);
	(void)pam_end(h, status);
	return verdict;
}

/* Without a file of its own the service would be Debian's `other`, about which nobody here decided anything. */
static bool has_service(const char *service)
{
	static const char *const dirs[] = { "/etc/pam.d", "/usr/lib/pam.d" };
	bool there = false;

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		char *name = mem_printf("%s/%s", dirs[i], service);
		there |= access(name, R_OK) == 0;
		free(name);
	}
	return there;
}

void pam_work(int fd, void *arg)
{
	const struct pam_service *s = arg;
	struct buf request = BUF_INIT(REQUEST_LIMIT), answer = BUF_INIT(512);
	const char *field[3] = { NULL }, *why = "";
	enum pam_verdict verdict = PAM_VERDICT_UNAVAILABLE;
	size_t n = 0;

	crew_deadline(s->deadline_us);
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	if (crew_receive(fd, &request, 0))
		_exit(1);
	for (size_t at = 0; at < request.len && n < 3; n++) {
		field[n] = request.p + at;
		at += strnlen(request.p + at, request.len - at) + 1;
	}
	if (n != 3 || request.p[request.len - 1] != '\0' || !*field[0])
		_exit(1); /* our own bug, or somebody who is the daemon now */
	if (has_service(s->name))
		verdict = ask_pam(s->name, field[0], field[1], field[2], &why);
	else
		why = "there is no PAM service file: copy packaging/drydock.pam to /etc/pam.d/drydock";
	explicit_bzero(request.p, request.cap);
	buf_char(&answer, (char)verdict);
	buf_str(&answer, why);
	if (crew_send(fd, buf_text(&answer), answer.len, 0))
		_exit(1);
}

/* --- in the daemon -------------------------------------------------------------------------------------------------- */

enum pam_verdict pam_check(const struct auth *a, const char *name, const char *password, const char *address, const char **why, struct arena *arena)
{
	struct buf request = BUF_INIT(REQUEST_LIMIT), answer = BUF_INIT(512);
	/* A little longer than the helper gives: its own words are better than none. */
	const int64_t until = clock_boot() + a->o.password_deadline_us + CLOCK_SECOND;
	enum pam_verdict verdict = PAM_VERDICT_UNAVAILABLE;
	enum err err;
	int fd = -1;

	buf_add(&request, name, strlen(name) + 1);
	buf_add(&request, password, strlen(password) + 1);
	buf_add(&request, address, strlen(address) + 1);
	err = buf_check(&request);
	if (!err)
		err = crew_call(a->o.pam, &fd);
	if (!err)
		err = crew_send(fd, request.p, request.len, until);
	if (!err)
		err = crew_receive(fd, &answer, until);
	if (!err && answer.len)
		verdict = (enum pam_verdict)answer.p[0];
	if (fd >= 0)
		(void)close(fd);
	if (request.p)
		explicit_bzero(request.p, request.cap);
	*why = arena_dup(arena, err ? err_text() : answer.len ? buf_text(&answer) + 1 : "it said nothing");
	buf_release(&request);
	buf_release(&answer);
	return verdict;
}
