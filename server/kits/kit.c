#include "kits/kit.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

const char *kit_variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

uint64_t kit_number(const char *name)
{
	return strtoull(kit_variable(name), NULL, 10);
}

static void print_json(json_t *v)
{
	struct buf text = BUF_INIT(1 << 20);

	if (v && !json_canonical(&text, v))
		puts(buf_text(&text));
	(void)fflush(stdout);
	json_decref(v);
	buf_release(&text);
}

bool kit_failed(const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	print_json(json_pack("{s:s}", "error", text));
	return false;
}

void kit_sent(void)
{
	print_json(json_pack("{s:b}", "sent", 1));
}

bool kit_ssh_start(struct kit_ssh *s, const char *command)
{
	char *known = mem_printf("UserKnownHostsFile=\"%s\"", kit_variable("DRYDOCK_KNOWN_HOSTS"));
	char *user = mem_printf("%s@%s", kit_variable("DRYDOCK_SSH_USER"), kit_variable("DRYDOCK_HOST"));
	const char *const argv[] = { "ssh", "-F", "none", "-T", "-p", kit_variable("DRYDOCK_PORT"), "-i", kit_variable("DRYDOCK_KEY_FILE"), "-o", known, "-o",
		"GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o",
		"PreferredAuthentications=publickey", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o",
		"ForwardAgent=no", "-o", "ClearAllForwardings=yes", "-o", "LogLevel=ERROR", "--", user, command, NULL };
	posix_spawn_file_actions_t actions;
	int in[2], out[2], rc;
	extern char **environ;

	*s = (struct kit_ssh){ .to = -1, .from = -1 };
	(void)signal(SIGPIPE, SIG_IGN);
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		free(known);
		free(user);
		return kit_failed("no pipe could be made");
	}
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	(void)posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	rc = posix_spawnp(&s->pid, "ssh", &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(in[0]);
	(void)close(out[1]);
	s->to = in[1];
	s->from = out[0];
	s->answers = lines_new(s->from);
	free(known);
	free(user);
	if (rc)
		s->pid = 0;
	return rc ? kit_failed("ssh cannot be started: %s", strerror(rc)) : true;
}

json_t *kit_ssh_answer(struct kit_ssh *s, char **line)
{
	json_t *v = NULL;
	size_t n;

	if (lines_next(s->answers, line, &n) || !*line) {
		*line = NULL;
		return NULL;
	}
	if (**line != '{' || json_parse(&v, *line, n))
		return NULL;
	return v;
}

int kit_ssh_end(struct kit_ssh *s)
{
	int status = 0;

	if (s->to >= 0)
		(void)close(s->to);
	if (s->from >= 0)
		(void)close(s->from);
	lines_free(s->answers);
	if (s->pid > 0)
		(void)waitpid(s->pid, &status, 0);
	*s = (struct kit_ssh){ .to = -1, .from = -1 };
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

bool kit_refused(const json_t *answer)
{
	bool bad = false;
	const char *why = json_get_str(answer, "refused", &bad);

	if (!why)
		return false;
	print_json(json_pack("{s:b}", "sent", 0));
	(void)kit_failed("production refused it: %s", why);
	return true;
}

bool kit_print_receipt(const json_t *answer)
{
	bool bad = false;
	const char *receipt = json_get_str(answer, "receipt", &bad), *signature = json_get_str(answer, "signature", &bad);
	const int64_t written = json_get_int(answer, "written", 0, &bad), removed = json_get_int(answer, "removed", 0, &bad);
	const int64_t mended = json_get_int(answer, "mended", 0, &bad);
	const char *report = json_get_str(answer, "report", &bad), *report_signature = json_get_str(answer, "report_signature", &bad);

	if (!receipt || !signature || bad)
		return kit_failed("production gave no receipt");
	if (mended)
		printf("%lld files of the image had been altered, and were written again\n", (long long)mended);
	if (report && report_signature)
		print_json(json_pack("{s:s, s:s}", "report", report, "signature", report_signature));
	print_json(json_pack("{s:s, s:s}", "receipt", receipt, "signature", signature));
	print_json(json_pack("{s:{s:I, s:I}}", "result", "changed", (json_int_t)written, "removed", (json_int_t)removed));
	return true;
}
