/* drydockd admin: the way in, and the way back in, for whoever may start the daemon. */
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/mem.h"
#include "daemon/internal.h"

/* One line, without echo on a terminal. */
static enum err read_line(const char *prompt, char *out, size_t size)
{
	struct termios old, quiet;
	bool terminal = isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &old);
	char *got;

	if (terminal) {
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
		fprintf(stderr, "%s", prompt);
	}
	got = fgets(out, (int)size, stdin);
	if (terminal) {
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	if (!got)
		return err_set(ERR_INPUT, "A new account needs a password: type it, or put it on the first line of standard input");
	out[strcspn(out, "\r\n")] = '\0';
	return ERR_OK;
}

static enum err ask_password(char out[PASSWORD_LIMIT + 2])
{
	char again[PASSWORD_LIMIT + 2];
	enum err e = read_line("New password: ", out, PASSWORD_LIMIT + 2);

	if (e || !isatty(STDIN_FILENO))
		return e;
	e = read_line("The same again: ", again, sizeof(again));
	if (!e && strcmp(out, again))
		e = err_set(ERR_INPUT, "The two passwords differ. Nothing was changed.");
	explicit_bzero(again, sizeof(again));
	return e;
}

/* The principal that is meant; an own account that does not exist is made. */
static enum err find_or_make(struct installation *in, const char *user, char principal[PRINCIPAL_LIMIT + 1])
{
	const char *name = !strncmp(user, "own:", 4) ? user + 4 : user;
	char password[PASSWORD_LIMIT + 2] = "";
	struct act_request rq = { .note = "drydockd admin" };
	struct act_answer answer;
	struct person *there = NULL;
	bool enabled;
	enum err e;

	if (principal_valid(user) && strncmp(user, "own:", 4)) {
		/* A user of another provider need not be known yet. */
		snprintf(principal, PRINCIPAL_LIMIT + 1, "%s", user);
		return principal_is_group(user) ? err_set(ERR_INPUT, "%s is a group: name a user", user) : ERR_OK;
	}
	e = auth_principal(in->auth, tools_db(in->tools), user, principal);
	if (!e) {
		e = auth_person(in->auth, tools_db(in->tools), principal, &there, &enabled);
		if (!e) {
			person_unref(there);
			return ERR_OK;
		}
	}
	if (e != ERR_NOT_FOUND)
		return e;
	if (snprintf(principal, PRINCIPAL_LIMIT + 1, "own:%s", name) > PRINCIPAL_LIMIT || !principal_valid(principal) || principal_is_group(principal))
		return err_set(ERR_INPUT, "\"%s\" cannot be the name of an account", name);
	fprintf(stderr, "There is no user %s: the account %s is made.\n", user, principal);
	e = ask_password(password);
	uuid_new(&rq.op);
	if (!e)
		e = act_account_put(in->self, in->tools, &rq, name, password, NULL, true, &answer);
	explicit_bzero(password, sizeof(password));
	return e;
}

enum err daemon_admin(const struct conf *conf, const char *user, const char *site)
{
	struct installation *in = NULL;
	char principal[PRINCIPAL_LIMIT + 1];
	enum err e;

	if (site && !conf_site(conf, site))
		return err_set(ERR_NOT_FOUND, "There is no site %s in %s", site, conf->file);
	if (!conf->n_sites)
		return err_set(ERR_INPUT, "%s has no site yet: a role belongs to a site", conf->file);
	e = installation_open(&in, conf, NULL, NULL);
	if (e)
		return e;
	e = find_or_make(in, user, principal);
	for (size_t i = 0; i < in->n_sites && !e; i++) {
		struct act_answer answer;

		if (site && strcmp(site, in->sites[i]->name))
			continue;
		e = act_admin_offline(in->sites[i], in->tools, principal, &answer);
		if (!e)
			printf("%s is an admin of site %s.\n", principal, in->sites[i]->name);
	}
	return installation_close_after(in, e);
}
