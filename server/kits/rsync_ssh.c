/*
 * rsync-ssh: the kit that takes a release to drydock-receive over ssh, its files by rsync into the receiver's spool: of a
 * large file only the blocks that differ travel. What is decided is decided in the main stream (kits/deliver.h), beside
 * which rsync has a session of its own on the same connection.
 *
 * rsync sees a tree of links to just the files that are needed, so it compares nothing with what production has by size
 * and time. As its remote shell it is given this program, which runs ssh as the main stream does.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "kits/deliver.h"

/*
 * rsync writes one line anew, which says "xfr#N" when the N-th file is on its way. (A line for each file would need an option of
 * its other side as well, and that takes the words that it knows.)
 */
static void follow(int fd)
{
	char piece[4096], line[256];
	unsigned long long told = 0, now;
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) > 0 || (n < 0 && errno == EINTR)) {
		for (ssize_t i = 0; i < n; i++) {
			const char *at;

			if (piece[i] != '\r' && piece[i] != '\n') {
				if (len < sizeof(line) - 1)
					line[len++] = piece[i];
				continue;
			}
			line[len] = '\0';
			len = 0;
			at = strstr(line, "xfr#");
			now = at ? strtoull(at + 4, NULL, 10) : 0;
			/* Without one, a file that takes its time. */
			deliver_arrived(now > told ? now - told : 0);
			if (now > told)
				told = now;
		}
	}
}

static bool bring(const struct deliver_batch *b)
{
	const char *const argv[] = { "rsync", "-rLI", "--timeout=120", "--info=progress2", "-e", "/proc/self/exe", DELIVER_LINKS "/", "receiver:spool", NULL };
	char self[4096], shell[4096 + 16];
	const char *args[sizeof(argv) / sizeof(*argv)];
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int status = 0, rc, said[2];
	pid_t pid;

	/* rsync takes quotes in -e, and none inside of quotes. */
	if (!kit_self(self))
		return kit_failed("the kit cannot find itself");
	snprintf(shell, sizeof(shell), "'%s'", self);
	memcpy(args, argv, sizeof(argv));
	args[5] = shell;
	if (pipe2(said, O_CLOEXEC))
		return kit_failed("no pipe could be made");
	(void)fflush(stdout);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, said[1], 1);
	rc = posix_spawnp(&pid, "rsync", &actions, NULL, (char *const *)(uintptr_t)args, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)close(said[1]);
	if (!rc)
		follow(said[0]);
	(void)close(said[0]);
	if (rc) {
		printf("rsync cannot be started (%s): %llu files go in the stream\n", strerror(rc), (unsigned long long)b->count);
		return true;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		printf("rsync ended with status %d: what it did not bring goes in the stream\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128);
	return true;
}

/* rsync's remote shell: "... rsync --server ..." is what production is to run. */
static int remote_shell(int argc, char **argv)
{
	struct buf command = BUF_INIT(4096);
	int i = 1;

	while (i + 1 < argc && (strcmp(argv[i], "rsync") || strcmp(argv[i + 1], "--server")))
		i++;
	for (; i < argc; i++)
		buf_fmt(&command, "%s%s", command.len ? " " : "", argv[i]);
	kit_ssh_exec(buf_text(&command));
	buf_release(&command);
	return 127;
}

int main(int argc, char **argv)
{
	return argc > 2 ? remote_shell(argc, argv) : deliver_main(argc, argv, bring);
}
