#include "kits/kit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/sys.h"
#include "base/utf8.h"

const char *kit_variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

uint64_t kit_number(const char *name)
{
	return strtoull(kit_variable(name), NULL, 10);
}

#define FACT_LONGEST 8192
#define TOLD_WITHIN 15000 /* milliseconds; DryDock gives it up before that */

/* No line may be taken for a variable that is not DryDock's. */
static bool take_fact(char *line)
{
	char *eq = strchr(line, '=');

	if (!eq || strncmp(line, "DRYDOCK_", 8))
		return false;
	*eq = '\0';
	return !setenv(line, eq + 1, 1);
}

/* Is there something to read before ssh ends? */
static bool will_be_told(const struct kit_ssh *s)
{
	struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = s->from } };
	const int n = poll(p, 2, TOLD_WITHIN);

	return n > 0 && p[0].revents & POLLIN;
}

bool kit_told(const struct kit_ssh *s)
{
	struct lines *in;
	char *line;
	size_t n;
	bool told = false, good = true;

	if (!*kit_variable("DRYDOCK_EARLY"))
		return true;
	if (!will_be_told(s))
		return false;
	in = lines_new(STDIN_FILENO, FACT_LONGEST);
	while (good && !told && !lines_next(in, &line, &n) && line) {
		told = !n;
		good = told || take_fact(line);
	}
	lines_free(in);
	return told;
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

#define SSH_WORDS 48
#define ANSWER_LONGEST (96 * 1024) /* the greeting brings a report */

bool kit_self(char out[4096])
{
	const ssize_t n = readlink("/proc/self/exe", out, 4095);

	out[n > 0 ? n : 0] = '\0';
	return n > 0 && !strchr(out, '\'');
}

/* ssh to the target's host with its key only. master: it is the connection; else it may use that. NULL-terminated. */
static void ssh_argv(const char *argv[SSH_WORDS], const char *command, bool master, bool shared)
{
	static const char *const fixed[] = { "ssh", "-F", "none", "-T", "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "PreferredAuthentications=publickey", "-o", "ConnectTimeout=20", "-o",
		"ServerAliveInterval=15", "-o", "ServerAliveCountMax=4", "-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes", "-o", "LogLevel=ERROR" };
	static char known[4200], user[400], self[4096], proxy[4200];
	size_t n = sizeof(fixed) / sizeof(*fixed);

	snprintf(known, sizeof(known), "UserKnownHostsFile=\"%s\"", kit_variable("DRYDOCK_KNOWN_HOSTS"));
	snprintf(user, sizeof(user), "%s@%s", kit_variable("DRYDOCK_SSH_USER"), kit_variable("DRYDOCK_HOST"));

	memcpy(argv, fixed, sizeof(fixed));
	if (master || shared) {
		/* Below the kit's own directory, which is where it runs; a name from there is short enough for a socket. */
		argv[n++] = "-o";
		argv[n++] = "ControlPath=./connection";
		argv[n++] = "-o";
		argv[n++] = master ? "ControlMaster=yes" : "ControlMaster=no";
	}
	if (!shared && kit_self(self) && !strchr(self, '%')) {
		snprintf(proxy, sizeof(proxy), "ProxyCommand='%s' connect", self);
		argv[n++] = "-o";
		argv[n++] = proxy;
		argv[n++] = "-o";
		argv[n++] = "ProxyUseFdpass=yes";
	}
	argv[n++] = "-p";
	argv[n++] = kit_variable("DRYDOCK_PORT");
	argv[n++] = "-i";
	argv[n++] = kit_variable("DRYDOCK_KEY_FILE");
	argv[n++] = "-o";
	argv[n++] = known;
	argv[n++] = "--";
	argv[n++] = user;
	argv[n++] = command;
	argv[n] = NULL;
}

void kit_ssh_exec(const char *command)
{
	const char *argv[SSH_WORDS];

	ssh_argv(argv, command, false, true);
	(void)execvp("ssh", (char *const *)(uintptr_t)argv);
	fprintf(stderr, "ssh cannot be started: %s\n", strerror(errno));
}

/* Goes on to whoever reads what we say; the last line is kept, since it tells why nothing came. */
struct kit_heard {
	pthread_t thread;
	int fd;
	bool over; /* the line has ended: what comes is the next */
	bool last; /* it says that there was no connection; what ssh adds to that tells nobody anything */
	size_t len;
	char line[256], shown[1024];
};

static void *hear(void *h_)
{
	struct kit_heard *h = h_;
	char piece[4096];
	ssize_t n;

	while ((n = read(h->fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++) {
			if (piece[i] == '\n' || piece[i] == '\r') {
				h->over = true;
				h->last = h->last || (h->len >= strlen(KIT_NO_CONNECTION) && !memcmp(h->line, KIT_NO_CONNECTION, strlen(KIT_NO_CONNECTION)));
				continue;
			}
			if (h->last)
				continue;
			if (h->over)
				h->len = 0;
			h->over = false;
			if (h->len < sizeof(h->line))
				h->line[h->len++] = piece[i];
		}
		if (n > 0)
			(void)sys_write_all(STDERR_FILENO, piece, (size_t)n);
	}
	return NULL;
}

static struct kit_heard *hear_begin(int fd)
{
	struct kit_heard *h = mem_alloc(sizeof(*h));

	h->fd = fd;
	if (pthread_create(&h->thread, NULL, hear, h)) {
		free(h);
		return NULL;
	}
	return h;
}

const char *kit_ssh_said(struct kit_ssh *s)
{
	struct kit_heard *h = s->heard;
	struct buf shown = BUF_INIT(sizeof(h->shown));

	if (!h)
		return "";
	if (s->to >= 0)
		(void)close(s->to);
	s->to = -1;
	if (h->fd >= 0) {
		(void)pthread_join(h->thread, NULL);
		(void)close(h->fd);
		h->fd = -1;
	}
	utf8_visible(&shown, h->line, h->len, false);
	(void)snprintf(h->shown, sizeof(h->shown), "%s", buf_text(&shown));
	buf_release(&shown);
	return h->shown;
}

bool kit_ssh_start(struct kit_ssh *s, const char *command, bool master)
{
	const char *argv[SSH_WORDS];
	posix_spawn_file_actions_t actions;
	int in[2], out[2], said[2], rc;
	extern char **environ;

	*s = (struct kit_ssh){ .to = -1, .from = -1 };
	(void)signal(SIGPIPE, SIG_IGN);
	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(said, O_CLOEXEC))
		return kit_failed("no pipe could be made");
	/* Files are read on while ssh is busy. With less, the programs of the chain wait for each other. */
	sys_pipe_widen(in[1]);
	ssh_argv(argv, command, master, false);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	(void)posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	(void)posix_spawn_file_actions_adddup2(&actions, said[1], 2);
	rc = posix_spawnp(&s->pid, "ssh", &actions, NULL, (char *const *)(uintptr_t)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(in[0]);
	(void)close(out[1]);
	(void)close(said[1]);
	s->heard = hear_begin(said[0]);
	s->to = in[1];
	s->from = out[0];
	s->answers = lines_new(s->from, ANSWER_LONGEST);
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
	s->to = -1;
	if (s->pid > 0)
		(void)waitpid(s->pid, &status, 0);
	(void)kit_ssh_said(s);
	free(s->heard);
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

void kit_print_greeting(const json_t *greeting)
{
	bool bad = false;
	const char *receipt = json_get_str(greeting, "receipt", &bad), *signature = json_get_str(greeting, "signature", &bad);
	const char *report = json_get_str(greeting, "report", &bad), *report_signature = json_get_str(greeting, "report_signature", &bad);

	if (report && report_signature)
		print_json(json_pack("{s:s, s:s}", "report", report, "signature", report_signature));
	if (receipt && signature)
		print_json(json_pack("{s:s, s:s}", "held", receipt, "signature", signature));
}

bool kit_print_receipt(const json_t *answer)
{
	bool bad = false;
	const char *receipt = json_get_str(answer, "receipt", &bad), *signature = json_get_str(answer, "signature", &bad);
	const int64_t written = json_get_int(answer, "written", 0, &bad), removed = json_get_int(answer, "removed", 0, &bad);
	const int64_t mended = json_get_int(answer, "mended", 0, &bad);

	if (!receipt || !signature || bad)
		return kit_failed("production gave no receipt");
	if (mended)
		printf("%lld files of the image had been altered, and were written again\n", (long long)mended);
	print_json(json_pack("{s:s, s:s}", "receipt", receipt, "signature", signature));
	print_json(json_pack("{s:{s:I, s:I}}", "result", "changed", (json_int_t)written, "removed", (json_int_t)removed));
	return true;
}
