/* drydock-verify: the check of an archive of evidence. `drydock verify` runs it. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "evidence/evidence.h"

#define KEYS_LIMIT 64

static const char HELP[] =
    "Usage: drydock verify ARCHIVE [--key FILE|FINGERPRINT] [--json]\n"
    "\n"
    "Checks an archive of `drydock export-evidence`, without a server: each commit's signature, the chain of records without a\n"
    "gap, the approved trees, and every byte against MD5, SHA-256 and the records. --key: a public key that you trust, as a file\n"
    "or as its fingerprint (SHA256:..., from `ssh-keygen -lf DATA/node.pub`, told by another way than the archive); given more than\n"
    "once, any of them vouches. Without it the archive's own key is believed, which is said.\n"
    "\n"
    "Exit status: 0 all is good, 1 usage, 2 there is no such file, 6 it is not good: each failure is named.\n";

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = { { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' }, { "key", required_argument, NULL, 'k' },
		{ "json", no_argument, NULL, 'j' }, { NULL, 0, NULL, 0 } };
	const char *keys[KEYS_LIMIT];
	struct evidence_options o = { .trusted = keys };
	int c, rc;

	setlocale(LC_CTYPE, "C.UTF-8");
	while ((c = getopt_long(argc, argv, "h", OPTIONS, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(HELP, stdout);
			return fflush(stdout) ? 6 : 0;
		case 'V':
			puts("drydock-verify " VERSION);
			return 0;
		case 'k':
			if (o.n_trusted == KEYS_LIMIT) {
				fputs("drydock: too many keys.\n", stderr);
				return 1;
			}
			keys[o.n_trusted++] = optarg;
			break;
		case 'j':
			o.json = true;
			break;
		default:
			fputs(HELP, stderr);
			return 1;
		}
	}
	if (argc - optind != 1) {
		fputs(HELP, stderr);
		return 1;
	}
	rc = evidence_verify(argv[optind], &o);
	/* an answer that could not be written is none */
	return fflush(stdout) || ferror(stdout) ? 6 : rc;
}
