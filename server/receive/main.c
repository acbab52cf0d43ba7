/* drydock-receive: the commands. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "receive/receive.h"

static const char HELP[] =
    "Usage: drydock-receive COMMAND DIR\n"
    "\n"
    "Takes signed releases of DryDock on the production machine. DIR is its state directory; the web server\n"
    "serves DIR/live, a symbolic link that is switched from one image of the site to the other.\n"
    "\n"
    "  init DIR --site NAME --signers FILE   make a state directory and its key. FILE: DryDock's allowed_signers\n"
    "  receive DIR                           take one delivery on standard input: for command= in authorized_keys\n"
    "  status DIR                            what was accepted, what is live\n"
    "  verify DIR                            read every live file, name those that are not what was signed; exit\n"
    "                                        status 1 if there are any. Meant for a timer\n"
    "  rollback-to-previous DIR              make the other image live, by hand. DryDock's next release goes on\n"
    "                                        from what was accepted\n"
    "\n"
    "In authorized_keys of the user that owns DIR, one line:\n"
    "  command=\"drydock-receive receive DIR\",restrict ssh-ed25519 AAAA... drydock\n"
    "Exit status: 0 done, 1 refused or differences found, 2 usage.\n";

static int say(enum err e)
{
	if (e)
		fprintf(stderr, "drydock-receive: %s\n", err_text());
	return e ? 1 : 0;
}

static int receive(const char *dir)
{
	struct receiver r;
	const char *asked = getenv("SSH_ORIGINAL_COMMAND");
	int rc;
	enum err e;

	if (asked && !strncmp(asked, RSYNC_COMMAND, strlen(RSYNC_COMMAND))) {
		e = receiver_open(&r, dir, false);
		rc = e ? say(e) : receive_rsync(&r, asked);
		receiver_close(&r);
		return rc;
	}
	e = receiver_open(&r, dir, true);
	if (e) {
		struct buf text = BUF_INIT(4096);
		json_t *v = json_pack("{s:s}", "refused", err_text());

		if (v && !json_canonical(&text, v))
			puts(buf_text(&text));
		json_decref(v);
		buf_release(&text);
		rc = 1;
	} else {
		rc = receive_stream(&r, STDIN_FILENO, STDOUT_FILENO);
	}
	receiver_close(&r);
	return rc;
}

static int status(const char *dir)
{
	struct receiver r;
	enum err e = receiver_open(&r, dir, false);

	if (!e) {
		printf("site     %s\nkey      %s\n", r.site, node_key_public(r.key));
		if (r.accepted.number)
			printf("release  %llu, term %llu, %llu files\n", (unsigned long long)r.accepted.number, (unsigned long long)r.accepted.term,
			    (unsigned long long)r.accepted.sums.count);
		else
			puts("release  none was accepted yet");
		if (r.keys->n) {
			char print[KEY_PRINT];

			printf("signer   %s, after %zu change%s of the key\n", key_print(keychain_last(r.keys)->key, print), r.keys->n - 1, r.keys->n == 2 ? "" : "s");
		}
		printf("live     images/%s%s\n", r.live < 0 ? "?" : IMAGE_NAME(r.live), r.accepted.rolled_back ? ", the previous release, by hand" : "");
		for (int i = 0; i < 2; i++)
			if (image_dirty(&r, i))
				printf("image %s was left half-way, and is compared as a whole by the next delivery\n", IMAGE_NAME(i));
		if (r.accepted.number)
			fputs(r.accepted.receipt, stdout);
	}
	receiver_close(&r);
	return say(e);
}

#define VERIFY_TRIES 5

/* A switch that was left undone is done first, but a delivery is not waited for. */
static enum err verify_once(const char *dir, uint64_t *bad)
{
	struct receiver r;
	enum err e = receiver_open(&r, dir, true);

	receiver_close(&r);
	if (e && e != ERR_BUSY)
		return e;
	e = receiver_open(&r, dir, false);
	if (!e)
		e = receiver_verify(&r, stdout, bad);
	receiver_close(&r);
	return e;
}

static int verify(const char *dir)
{
	uint64_t bad = 0;
	enum err e = verify_once(dir, &bad);

	for (int i = 1; i < VERIFY_TRIES && e == ERR_STALE; i++) {
		printf("%s: once more\n", err_text());
		e = verify_once(dir, &bad);
	}
	return e ? say(e) : bad != 0;
}

static int roll_back(const char *dir)
{
	struct receiver r;
	struct accepted now;
	enum err e = receiver_open(&r, dir, true);
	const int other = r.live == 1 ? 0 : 1;

	if (!e && (!r.accepted.number || image_dirty(&r, other)))
		e = err_set(ERR_STALE, "there is no previous release that is whole");
	if (!e) {
		now = r.accepted;
		now.rolled_back = other != now.image;
		e = receiver_accept(&r, &now);
	}
	if (!e)
		e = receiver_switch(&r, other);
	if (!e)
		printf("live is images/%s\n", IMAGE_NAME(other));
	receiver_close(&r);
	return say(e);
}

static int usage(void)
{
	fputs(HELP, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = { { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' },
		{ "site", required_argument, NULL, 's' }, { "signers", required_argument, NULL, 'k' }, { NULL, 0, NULL, 0 } };
	const char *site = NULL, *signers = NULL, *command, *dir;
	int c;

	while ((c = getopt_long(argc, argv, "h", OPTIONS, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(HELP, stdout);
			return 0;
		case 'V':
			puts("drydock-receive " VERSION);
			return 0;
		case 's':
			site = optarg;
			break;
		case 'k':
			signers = optarg;
			break;
		default:
			return usage();
		}
	}
	if (argc - optind != 2)
		return usage();
	command = argv[optind];
	dir = argv[optind + 1];
	(void)umask(022);
	(void)signal(SIGPIPE, SIG_IGN);
	if (!strcmp(command, "init") && site && signers)
		return say(receiver_init(dir, site, signers));
	if (!strcmp(command, "receive"))
		return receive(dir);
	if (!strcmp(command, "status"))
		return status(dir);
	if (!strcmp(command, "verify"))
		return verify(dir);
	if (!strcmp(command, "rollback-to-previous"))
		return roll_back(dir);
	return usage();
}
