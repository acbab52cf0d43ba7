/* drydock: options and the table of commands. */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl/ctl.h"

#define DEFAULT_DATA "/var/lib/drydock"

/* How many arguments a command takes, and which options besides the common ones. */
struct command {
	const char *name;
	const char *usage;
	const char *summary;
	const char *options; /* names from OPTIONS, separated by blanks */
	int least, most;
	command_fn *run;
	const char *text; /* the rest of its --help */
};

static const struct command COMMANDS[] = {
	{ "status", "[-r] [PATH]", "what state files are in", "recursive all state scan limit", 0, 1, cmd_status,
	    "Without PATH: the top of the site. With -r everything below it, but only what somebody may have to act on;\n"
	    "--all lists signed files too, --state picks states (a comma between them). At the end stands the digest of\n"
	    "the selection that was shown: `drydock sign -r --selection DIGEST PATH` signs exactly that, or nothing.\n"
	    "--scan reads the whole tree again even while the server watches it.\n" },
	{ "sign", "[-r] [-m NOTE] [--field K=V]... [--selection DIGEST | --from FILE | --as-staged] PATH...", "approve files as they are in staging",
	    "recursive note selection from as-staged id field meaning password-file", 0, 4000, cmd_act,
	    "--selection takes the digest that `status -r`, `diff` or an earlier answer showed; --from a list in the format\n"
	    "of sha256sum (\"-\": standard input), whose names are paths of the site. If something changed meanwhile nothing\n"
	    "is signed, the exit code is 4 and the selection as it is now is shown. Without either, the selection is printed\n"
	    "and a terminal is asked; off a terminal --as-staged signs whatever is there, and the record says so.\n"
	    "--id UUID makes a repetition safe: the same act again gets the same answer and is recorded once.\n"
	    "--field NAME=VALUE, once for each, fills in what an admin asks for (`drydock field list`); of a checkbox the value is\n"
	    "yes or no. A terminal is asked for the required ones that are missing.\n"
	    "--meaning TEXT says what the signature means, where the site lists what it can. Where a site asks for the\n"
	    "password again it is asked on the terminal, or read from --password-file.\n" },
	{ "review", "[-r] [-m NOTE] [--field K=V]... [--selection DIGEST | --from FILE | --as-staged] PATH...", "record that files were looked at",
	    "recursive note selection from as-staged id field", 0, 4000, cmd_act, "Options as for sign.\n" },
	{ "revoke", "[-r] [-m NOTE] [--take-down] [--field K=V]... [--selection DIGEST | --from FILE | --as-staged] PATH...", "take approved files back",
	    "recursive note selection from as-staged id take-down field", 0, 4000, cmd_act, "Options as for sign. They leave production with the next sync.\n"
	    "--take-down: they leave at once, ahead of the window and past holds, and nothing else goes with them; kits that\n"
	    "run are ended. It needs a note.\n" },
	{ "log", "[PATH] [--user U] [--act A] [--since T]", "history of the site, a path, a person", "user act since until limit", 0, 1,
	    cmd_log, "T is a date, a time, or an age such as 3h, 2d, 1w. Acts: sign, review, revoke, rule, require, field,\npreapprove, pickup, release, force. A slash at the end of PATH: the directory of that name, also where it is a file's now.\n" },
	{ "diff", "PATH", "approved against staged version", "", 1, 1, cmd_diff, "Prints the digest that `drydock sign --selection` takes.\n" },
	{ "show", "PATH[@SEQ]", "all about a file, or its bytes", "content staged", 1, 1, cmd_show,
	    "--content writes the approved version to standard output (@SEQ: the version that record names),\n--staged the staged one.\n" },
	{ "export-evidence", "PATH [-o FILE]", "the history of PATH as an archive that is checked without DryDock", "output current", 1, 1, cmd_evidence,
	    "One archive with the bytes of every version that was approved at or below PATH (--current: of what is approved now only),\n"
	    "all records and signed commits of the site, the public keys, and a README: `drydock verify` or stock git, sha256sum and\n"
	    "ssh-keygen check it. For admins of the whole site, because records name other paths too. -o -: to standard output.\n" },
	{ "verify", "ARCHIVE [--key FILE|FINGERPRINT]", "check such an archive; needs no server", "key", 1, 1, cmd_verify,
	    "Every signature, the chain of records without a gap, the approved trees, and every byte. --key: a public key that you trust,\n"
	    "as a file or its fingerprint (SHA256:...); given more than once, any of them vouches. Without it the archive's own key is\n"
	    "believed, which is said. Exit code 6: it is not good, and each failure is named.\n" },
	{ "role", "list [PATH] | set PRINCIPAL PATH ROLE | remove PRINCIPAL PATH | preview PRINCIPAL PATH ROLE|remove | lint [PATH] | require [PATH]",
	    "who may do what", "note id limit reviews not-alone", 1, 4, cmd_role,
	    "Roles: admin, sign, review, view, none. Principals: alice, own:alice, unix:bob, @editors, own:@editors.\n"
	    "A person's own rule counts before those of his groups, a nearer path before one above.\n"
	    "preview says who would gain and who would lose what, on PATH and below, and changes nothing.\n"
	    "lint lists rules that do nothing, and rules for somebody who does not exist.\n"
	    "require lists what signatures need beside the role. With --reviews N so many others must have reviewed the very\n"
	    "bytes before a signature on PATH or below counts; with --not-alone nobody signs a file of his own without a review\n"
	    "by somebody else. Both are set at once; --reviews 0 takes it back.\n" },
	{ "access", "explain [USER] PATH", "which rule decides, and why the others do not", "", 2, 3, cmd_access, "" },
	{ "preapprove", "add PATH | remove PATH | list", "paths that are published without a signature", "note id pattern largest until", 1, 2,
	    cmd_preapprove,
	    "Each sync publishes what is at or below PATH, and records it. --pattern '*.jpg': only names like that; --largest 2MiB:\n"
	    "only files up to that size; --until 90d or a date: then it ends. `remove` names the same --pattern. What was let out\n"
	    "stays approved until it is revoked, and a revoked file waits for a signature.\n" },
	{ "field", "list [PATH] | set PATH NAME | remove PATH NAME", "what signing, reviewing or revoking asks for", "label type choice act required place note id", 1, 3,
	    cmd_field,
	    "set: whoever acts on a file at PATH or below is asked for it. --label: what people read; --type text (a line), choice,\n"
	    "checkbox or date; --choice TEXT once for each choice; --act sign,review,revoke: with which acts (sign); --required: no\n"
	    "act without it, a checkbox has to be ticked; --place N: forms show lower ones first. Setting it again is a new version;\n"
	    "records keep the one that was asked then. Of one name the nearest definition counts; it is required if any above says so.\n" },
	{ "sync", "status [--follow] | plan | force -m REASON | confirm DIGEST -m REASON | log [--target NAME | RUN]", "to production: clocks, plan, force, runs",
	    "note plan limit id follow target", 1, 2, cmd_sync,
	    "status --follow stays until no sync runs or is about to, and shows on a terminal how far each target's kit is.\n"
	    "confirm lets go what `sync plan` shows, where so many files would leave that nothing is released until an admin has\n"
	    "looked; DIGEST is the one that it prints.\n"
	    "--plan DIGEST forces only if the plan is still the one that was shown.\n"
	    "log --target NAME: the runs that sent to that target, and what became of each there.\n" },
	{ "reapprove", "PATH@RECORD | --release N PATH [-m NOTE] [--plan DIGEST]", "approve an earlier version again, whatever is staged", "note plan release id password-file",
	    1, 1, cmd_reapprove, "A file, or a directory and all below it, as RECORD left it (`drydock log PATH` tells the numbers). What would change\n"
	    "is shown first, and a terminal is asked; with --plan DIGEST it is done only if that is still what changes.\n" },
	{ "release", "list | show N | rollback N | verify N | diff [FROM] N | whence URL|PATH", "numbered states of production",
	    "limit paper note plan id", 1, 3, cmd_release,
	    "rollback shows what going back to release N changes; with -m REASON it cuts a new release with the files of N and\n"
	    "has it sent at once, with --plan DIGEST only if that is still what changes.\n"
	    "show --paper head|signature|files writes the file to standard output: with the first two `ssh-keygen -Y\n"
	    "verify -n drydock-release` checks a release, the third is for `sha256sum -c`. verify checks it here: record,\n"
	    "signature, log, tree, chain and files. diff: against the release before, or from FROM to N. whence: which\n"
	    "release and whose signature a public address comes from.\n" },
	{ "user", "list | add NAME | password NAME | enable NAME | disable NAME", "DryDock's own accounts", "password-file display id", 1, 2,
	    cmd_user, "The password is read from --password-file, or asked on the terminal; never an argument.\n" },
	{ "group", "list [GROUP] | add GROUP | remove GROUP | join GROUP PRINCIPAL | leave GROUP PRINCIPAL", "DryDock's own groups", "id", 1, 3,
	    cmd_group, "" },
	{ "hold", "list | add PATH --until T -m REASON | lift PATH", "stop syncs of a site or of a path", "until note id", 1, 2, cmd_hold,
	    "A held path stays in production as it is, whatever is signed or revoked, until T (2h, 3d, a date) or until it is lifted;\n"
	    "/ is the whole site: then nothing is sent at all. For admins of the path. Only a take-down goes through.\n" },
	{ "site", "list | hold --until T -m REASON | lift", "the sites you may see; hold all syncs of one", "until note id", 1, 1, cmd_site,
	    "hold and lift are `drydock hold add /` and `drydock hold lift /`.\n" },
	{ "target", "list | test NAME | catch-up NAME -m REASON", "where releases go, and what is there", "note id", 1, 2, cmd_target,
	    "test asks the target's kit whether a sync could go there now, and touches nothing; exit status 6 if it could not.\n" },
	{ "notice", "list | test", "who is told when a target fails", "", 1, 1, cmd_notice,
	    "Where messages go is set in the configuration file: mail_to and webhook of the site. test sends one to each, now.\n" },
	{ "event", "list", "logins and refusals, newest first", "limit", 1, 1, cmd_event, "For an admin of any site; what he may not see is left out.\n" },
	{ "counter", "-i ID get | next | rm", "counters that servers and scripts share", "name id", 1, 1, cmd_counter,
	    "`drydock -i ID counter next` adds one and prints the new value; the first is 1. ID: letters, digits and . _ - / : @.\n"
	    "For admins of a site. --id UUID makes a repetition of `next` safe. What begins with release/ or publisher/ is\n"
	    "DryDock's own and can only be looked at.\n" },
	{ "queue", "-i ID [-p PROCESS] join | leave | get | list | rm", "queues that servers and scripts share", "name process", 1, 1,
	    cmd_queue,
	    "`drydock -i ID queue -p PROCESS join` takes a place at the end and prints position, ticket and process; the one at\n"
	    "position 1 is the head. A ticket's number is never given twice; --json has the fencing token too, which rises with\n"
	    "every change of the queue. Joining again changes nothing. `get` shows the own place, `list` all, `rm` removes the queue.\n" },
	{ "whoami", "", "who the server takes you for", "", 0, 0, cmd_whoami, "" },
	{ "login", "NAME", "log in over HTTP (not needed on the local socket)", "password-file", 1, 1, cmd_login, "" },
	{ "logout", "", "end that session", "", 0, 0, cmd_logout, "" },
	{ "session", "list | end ID | end --all", "where you are logged in", "all", 1, 2, cmd_session, "" },
	{ "token", "list [--all] | add LABEL [--role R] [--path P] [--expires T] | revoke ID", "let a program act as you, within limits",
	    "all role path expires note id", 1, 2, cmd_token,
	    "The text of a new token is printed once. It may at most do what --role says (view), on --site (every site) in and\n"
	    "below --path (/), and ends at --expires: a time from now such as 90d (the default), or a date. A program uses it\n"
	    "with --token-file FILE, or DRYDOCK_TOKEN_FILE, together with --server URL. --all lists those of others too.\n" },
};
#define N_COMMANDS (sizeof COMMANDS / sizeof *COMMANDS)

enum { OPT_SERVER = 256, OPT_DATA, OPT_SITE, OPT_JSON, OPT_VERSION, OPT_ALL, OPT_SCAN, OPT_AS_STAGED, OPT_CONTENT, OPT_STAGED, OPT_SELECTION,
	OPT_FROM, OPT_ID, OPT_USER, OPT_ACT, OPT_SINCE, OPT_UNTIL, OPT_LIMIT, OPT_STATE, OPT_REVIEWS, OPT_NOT_ALONE, OPT_PLAN, OPT_RELEASE, OPT_PASSWORD_FILE, OPT_DISPLAY, OPT_TOKEN_FILE, OPT_ROLE, OPT_PATH, OPT_EXPIRES,
	OPT_PAPER, OPT_MEANING, OPT_PATTERN, OPT_LARGEST, OPT_FIELD, OPT_LABEL, OPT_TYPE, OPT_CHOICE, OPT_REQUIRED, OPT_PLACE, OPT_CURRENT, OPT_KEY, OPT_TAKE_DOWN, OPT_FOLLOW, OPT_TARGET };

static const struct option OPTIONS[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "server", required_argument, NULL, OPT_SERVER },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "site", required_argument, NULL, OPT_SITE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "token-file", required_argument, NULL, OPT_TOKEN_FILE },
	{ "recursive", no_argument, NULL, 'r' },
	{ "note", required_argument, NULL, 'm' },
	{ "reason", required_argument, NULL, 'm' },
	{ "all", no_argument, NULL, OPT_ALL },
	{ "scan", no_argument, NULL, OPT_SCAN },
	{ "as-staged", no_argument, NULL, OPT_AS_STAGED },
	{ "content", no_argument, NULL, OPT_CONTENT },
	{ "staged", no_argument, NULL, OPT_STAGED },
	{ "selection", required_argument, NULL, OPT_SELECTION },
	{ "from", required_argument, NULL, OPT_FROM },
	{ "id", required_argument, NULL, OPT_ID },
	{ "user", required_argument, NULL, OPT_USER },
	{ "act", required_argument, NULL, OPT_ACT },
	{ "since", required_argument, NULL, OPT_SINCE },
	{ "until", required_argument, NULL, OPT_UNTIL },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "plan", required_argument, NULL, OPT_PLAN },
	{ "release", required_argument, NULL, OPT_RELEASE },
	{ "reviews", required_argument, NULL, OPT_REVIEWS },
	{ "not-alone", no_argument, NULL, OPT_NOT_ALONE },
	{ "password-file", required_argument, NULL, OPT_PASSWORD_FILE },
	{ "display", required_argument, NULL, OPT_DISPLAY },
	{ "role", required_argument, NULL, OPT_ROLE },
	{ "path", required_argument, NULL, OPT_PATH },
	{ "expires", required_argument, NULL, OPT_EXPIRES },
	{ "meaning", required_argument, NULL, OPT_MEANING },
	{ "pattern", required_argument, NULL, OPT_PATTERN },
	{ "largest", required_argument, NULL, OPT_LARGEST },
	{ "field", required_argument, NULL, OPT_FIELD },
	{ "label", required_argument, NULL, OPT_LABEL },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ "choice", required_argument, NULL, OPT_CHOICE },
	{ "required", no_argument, NULL, OPT_REQUIRED },
	{ "place", required_argument, NULL, OPT_PLACE },
	{ "take-down", no_argument, NULL, OPT_TAKE_DOWN },
	{ "follow", no_argument, NULL, OPT_FOLLOW },
	{ "target", required_argument, NULL, OPT_TARGET },
	{ "name", required_argument, NULL, 'i' },
	{ "process", required_argument, NULL, 'p' },
	{ "paper", required_argument, NULL, OPT_PAPER },
	{ "output", required_argument, NULL, 'o' },
	{ "current", no_argument, NULL, OPT_CURRENT },
	{ "key", required_argument, NULL, OPT_KEY },
	{ NULL, 0, NULL, 0 },
};
/* The first seven belong to every command. */
#define COMMON_OPTIONS 7

static void help(FILE *out)
{
	fputs("Usage: drydock [OPTIONS] COMMAND [ARGUMENTS]\n\nCommands:\n", out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-15s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
	fputs("\nOptions for every command:\n"
	    "  --server URL|SOCKET  the server (or DRYDOCK_SERVER)\n"
	    "  --data DIR           the server whose data directory this is, by its local socket (or DRYDOCK_DATA)\n"
	    "  --site NAME          the site; may be left out where there is one\n"
	    "  --json               what the API answers, for programs\n"
	    "  --token-file FILE    an API token in place of a login, over HTTP (or DRYDOCK_TOKEN_FILE)\n"
	    "  --help, --version\n\n"
	    "`drydock COMMAND --help` says more. Exit codes: 0 done, 1 usage, 2 not found, 3 refused, 4 conflict, 5 cannot reach\n"
	    "the server, 6 failed.\n", out);
}

static void help_command(const struct command *cmd)
{
	printf("Usage: drydock %s %s\n\n%c%s.\n", cmd->name, cmd->usage, cmd->summary[0] & ~0x20, cmd->summary + 1);
	if (*cmd->text)
		printf("\n%s", cmd->text);
	if (*cmd->options) {
		fputs("\nOptions:", stdout);
		for (const char *p = cmd->options; *p; p += strcspn(p, " "), p += *p == ' ')
			printf(" --%.*s", (int)strcspn(p, " "), p);
		putchar('\n');
	}
	puts("Common options: see `drydock --help`.");
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(COMMANDS[i].name, name) == 0)
			return &COMMANDS[i];
	return NULL;
}

static bool word_in(const char *words, const char *word)
{
	const size_t n = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += n)
		if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

/* One more of an option that may be given several times. */
static void option_add(const char **list, int *n, int most)
{
	*n = *n < 0 || *n == most ? -1 : *n + 1;
	if (*n > 0)
		list[*n - 1] = optarg;
}

static void option_take(struct options *o, int c)
{
	switch (c) {
	case 'h': o->help = true; break;
	case 'r': o->recursive = true; break;
	case 'm': o->note = optarg; break;
	case OPT_PATTERN: o->pattern = optarg; break;
	case OPT_LARGEST: o->largest = optarg; break;
	case OPT_TAKE_DOWN: o->take_down = true; break;
	case OPT_FOLLOW: o->follow = true; break;
	case OPT_TARGET: o->target = optarg; break;
	case 'i': o->name = optarg; break;
	case 'p': o->process = optarg; break;
	case 'o': o->output = optarg; break;
	case OPT_CURRENT: o->current = true; break;
	case OPT_KEY:
		if (o->n_keys < (int)(sizeof o->keys / sizeof *o->keys))
			o->keys[o->n_keys++] = optarg;
		break;
	case OPT_SERVER: o->server = optarg; break;
	case OPT_DATA: o->data = optarg; break;
	case OPT_SITE: o->site = optarg; break;
	case OPT_JSON: o->json = true; break;
	case OPT_ALL: o->all = true; break;
	case OPT_SCAN: o->scan = true; break;
	case OPT_AS_STAGED: o->as_staged = true; break;
	case OPT_CONTENT: o->content = true; break;
	case OPT_STAGED: o->staged = true; break;
	case OPT_SELECTION: o->selection = optarg; break;
	case OPT_FROM: o->from = optarg; break;
	case OPT_ID: o->id = optarg; break;
	case OPT_USER: o->user = optarg; break;
	case OPT_ACT: o->act = optarg; break;
	case OPT_SINCE: o->since = optarg; break;
	case OPT_UNTIL: o->until = optarg; break;
	case OPT_LIMIT: o->limit = optarg; break;
	case OPT_STATE: o->state = optarg; break;
	case OPT_REVIEWS: o->reviews = optarg; break;
	case OPT_NOT_ALONE: o->not_alone = true; break;
	case OPT_PLAN: o->plan = optarg; break;
	case OPT_RELEASE: o->release = optarg; break;
	case OPT_PASSWORD_FILE: o->password_file = optarg; break;
	case OPT_DISPLAY: o->display = optarg; break;
	case OPT_TOKEN_FILE: o->token_file = optarg; break;
	case OPT_ROLE: o->role = optarg; break;
	case OPT_PATH: o->path = optarg; break;
	case OPT_EXPIRES: o->expires = optarg; break;
	case OPT_MEANING: o->meaning = optarg; break;
	case OPT_FIELD: option_add(o->fields, &o->n_fields, (int)(sizeof o->fields / sizeof *o->fields)); break;
	case OPT_LABEL: o->label = optarg; break;
	case OPT_TYPE: o->type = optarg; break;
	case OPT_CHOICE: option_add(o->choices, &o->n_choices, (int)(sizeof o->choices / sizeof *o->choices)); break;
	case OPT_REQUIRED: o->required = true; break;
	case OPT_PLACE: o->place = optarg; break;
	case OPT_PAPER: o->paper = optarg; break;
	default: break;
	}
}

/* The long name under which a command's row lists an option. */
static const char *option_name(int c)
{
	for (const struct option *p = OPTIONS; p->name; p++)
		if (p->val == c)
			return p->name;
	return "";
}

/* Options may stand anywhere (GNU order); -1 after a sentence was printed. */
static int options_parse(struct options *o, int argc, char **argv, const struct command **cmd)
{
	int seen[256], n_seen = 0, c;

	o->enabled = -1;
	while ((c = getopt_long(argc, argv, "hrm:i:p:o:", OPTIONS, NULL)) != -1) {
		if (c == '?') {
			fputs("Try `drydock --help`.\n", stderr);
			return -1;
		}
		if (c == OPT_VERSION) {
			puts("drydock " VERSION);
			exit(fflush(stdout) ? EXIT_BROKEN : EXIT_DONE);
		}
		option_take(o, c);
		if (n_seen < (int)(sizeof seen / sizeof *seen))
			seen[n_seen++] = c;
	}
	if (o->n_fields < 0 || o->n_choices < 0) {
		fputs(o->n_fields < 0 ? "drydock: too many --field.\n" : "drydock: too many --choice.\n", stderr);
		return -1;
	}
	if (optind == argc) {
		*cmd = NULL;
		return 0;
	}
	*cmd = command_find(argv[optind]);
	if (!*cmd) {
		fprintf(stderr, "drydock: there is no command \"%s\". Try `drydock --help`.\n", argv[optind]);
		return -1;
	}
	for (int i = optind + 1; i < argc; i++) {
		if (o->n_args == (int)(sizeof o->args / sizeof *o->args)) {
			fprintf(stderr, "drydock: too many arguments; give a list with --from.\n");
			return -1;
		}
		o->args[o->n_args++] = argv[i];
	}
	for (int i = 0; i < n_seen; i++) {
		bool common = false;

		for (int k = 0; k < COMMON_OPTIONS; k++)
			common |= OPTIONS[k].val == seen[i];
		if (!common && !word_in((*cmd)->options, option_name(seen[i]))) {
			fprintf(stderr, "drydock %s: it has no option --%s. Try `drydock %s --help`.\n", (*cmd)->name, option_name(seen[i]), (*cmd)->name);
			return -1;
		}
	}
	return 0;
}

/* Where the server is: options first, then the environment, then the place of an installed one. */
static bool find_server(struct ctl *c, const struct options *o)
{
	const char *server = o->server, *data = o->data;
	size_t n;

	if (!server && !data)
		server = getenv("DRYDOCK_SERVER");
	if (!server && !data)
		data = getenv("DRYDOCK_DATA");
	if (!server) {
		c->transport = &transport_socket;
		c->place = arena_printf(c->arena, "%s/drydock.sock", data && *data ? data : DEFAULT_DATA);
		return true;
	}
	if (strncmp(server, "http://", 7) == 0 || strncmp(server, "https://", 8) == 0) {
		n = strlen(server);
		while (n && server[n - 1] == '/')
			n--;
		c->transport = &transport_curl;
		c->place = arena_dupn(c->arena, server, n);
		if (!token_load(c))
			return false;
		if (!*c->token)
			session_load(c);
		return true;
	}
	if (*server != '/' && *server != '.') {
		fprintf(stderr, "drydock: --server takes an address (http://..., https://...) or the path of a socket.\n");
		return false;
	}
	c->transport = &transport_socket;
	c->place = server;
	return true;
}

/* What was printed is only there if it could be written. */
static enum ctl_exit written(enum ctl_exit rc)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return rc;
	perror("drydock: standard output");
	return EXIT_BROKEN;
}

int main(int argc, char **argv)
{
	static struct options o;
	const struct command *cmd;
	struct ctl c = { .o = &o, .answer = BUF_INIT((size_t)1 << 30), .sink = -1 };
	enum ctl_exit rc;

	setlocale(LC_CTYPE, "C.UTF-8");
	if (options_parse(&o, argc, argv, &cmd))
		return EXIT_USAGE;
	if (!cmd) {
		help(o.help ? stdout : stderr);
		return o.help ? written(EXIT_DONE) : EXIT_USAGE;
	}
	if (o.help) {
		help_command(cmd);
		return written(EXIT_DONE);
	}
	if (o.n_args < cmd->least || o.n_args > cmd->most) {
		fprintf(stderr, "Usage: drydock %s %s\n", cmd->name, cmd->usage);
		return EXIT_USAGE;
	}
	c.arena = arena_new();
	/* cmd_act serves three commands: it finds its own name in front of the arguments */
	o.act = cmd->run == cmd_act ? cmd->name : o.act;
	rc = cmd->run == cmd_verify || find_server(&c, &o) ? cmd->run(&c) : EXIT_USAGE;
	buf_release(&c.answer);
	arena_free(c.arena);
	return (int)written(rc);
}
