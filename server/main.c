/*
 * drydockd: options, open, run, close. The only file of the server that exits.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "conf/conf.h"
#include "daemon/daemon.h"
#include "daemon/datadir.h"

#define CONF_FILE "/etc/drydock/drydock.conf"

static const char HELP[] =
    "Usage: drydockd COMMAND [OPTION]...\n"
    "The server of DryDock: nothing of a staging tree becomes public before somebody who may do so has signed it.\n"
    "\n"
    "Commands:\n"
    "  init           make a data directory with its key and a configuration file\n"
    "  serve          run; SIGTERM or Ctrl-C ends it, SIGHUP reads the configuration again\n"
    "  admin USER     make USER an admin of every site, while no server runs: the first one, and the way back in.\n"
    "                 An account of DryDock's own that does not exist is made; its password is asked for, or is the\n"
    "                 first line of standard input\n"
    "  check-config   say whether the configuration is right\n"
    "  fsck           check everything that was recorded: the signed log, the database against it, the approved tree, the\n"
    "                 export directory, releases, owners and modes. Exit status: 0 nothing is wrong, 1 all that was wrong\n"
    "                 is repaired, 2 damage, 3 it could not be checked\n"
    "  rebuild        make the database again from the signed logs, while no server runs: an empty one, or with --replace\n"
    "                 whatever is there (passwords are kept)\n"
    "  backup DIR     copy the data directory into the new directory DIR, beside a running server or without one: the\n"
    "                 database, the repositories, the node's key, the configuration. DIR is as secret as node.key\n"
    "  restore DIR    make the data directory that --data names from a backup. It starts read-only\n"
    "  accept-loss    with -m REASON, after restore: record that this is the state to go on from\n"
    "  key change     with -m REASON, while no server runs: make a new key for the node. What the old one signed stays valid;\n"
    "                 its secret part is destroyed\n"
    "  key list       the keys of the node: fingerprints, since when, by whom, why\n"
    "\n"
    "Options:\n"
    "  --data DIR        the data directory; its configuration is DIR/drydock.conf\n"
    "  --conf FILE       the configuration file (without --data: " CONF_FILE ")\n"
    "  --deep            fsck: every byte of the export and of every version too\n"
    "  --repair          fsck: put right what can be derived; foreign files of the export go to export.foreign/\n"
    "  --json            fsck, key list: for programs\n"
    "  -m REASON         accept-loss, key change: why\n"
    "  --new FILE        key change: take this key (OpenSSH, Ed25519, without a passphrase, mode 600) instead of making one\n"
    "  --keep-old        key change: keep the old key beside the new one, as node.key.FINGERPRINT\n"
    "  --replace         rebuild: take out what is in the database\n"
    "  --site NAME       admin, fsck: this site only. init: the first site, together with --staging\n"
    "  --staging DIR     init: the staging tree of that site\n"
    "  --production DIR  init: where its approved files are brought, on this machine\n"
    "  --port N          init: the port to listen on\n"
    "  --user NAME       init as root: the UNIX user that the daemon runs as\n"
    "  --admin USER      init: a first admin, such as unix:alice; may be given more than once\n"
    "  --help, --version, --help-config, --sample-config\n"
    "\n"
    "Exit status: 0 done, 1 wrong usage or configuration, 2 not found, 3 refused, 4 conflict, 6 failed or in use.\n";

enum { OPT_DATA = 256, OPT_CONF, OPT_SITE, OPT_STAGING, OPT_PRODUCTION, OPT_PORT, OPT_USER, OPT_ADMIN, OPT_DEEP, OPT_REPAIR, OPT_JSON, OPT_REPLACE, OPT_NEW, OPT_KEEP_OLD, OPT_HELP, OPT_VERSION, OPT_HELP_CONFIG, OPT_SAMPLE };

static const struct option OPTIONS[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "conf", required_argument, NULL, OPT_CONF },
	{ "site", required_argument, NULL, OPT_SITE },
	{ "staging", required_argument, NULL, OPT_STAGING },
	{ "production", required_argument, NULL, OPT_PRODUCTION },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "user", required_argument, NULL, OPT_USER },
	{ "admin", required_argument, NULL, OPT_ADMIN },
	{ "deep", no_argument, NULL, OPT_DEEP },
	{ "repair", no_argument, NULL, OPT_REPAIR },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "replace", no_argument, NULL, OPT_REPLACE },
	{ "new", required_argument, NULL, OPT_NEW },
	{ "keep-old", no_argument, NULL, OPT_KEEP_OLD },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help-config", no_argument, NULL, OPT_HELP_CONFIG },
	{ "sample-config", no_argument, NULL, OPT_SAMPLE },
	{ NULL },
};

/* What the command line said. */
struct line {
	const char *command, *user, *conf;
	struct init_options init;
	struct fsck_options fsck;
	bool replace;
	const char *reason, *place; /* of accept-loss and key change; of backup and restore */
	const char *verb; /* of key */
	struct key_options key;
	const char *admins[64];
};

static int usage(const char *why)
{
	fprintf(stderr, "drydockd: %s\nTry `drydockd --help`.\n", why);
	return 1;
}

/* Everything that prints and ends. Returns -1 to go on, else the exit status. */
static int print_and_end(int opt)
{
	switch (opt) {
	case OPT_HELP:
		fputs(HELP, stdout);
		break;
	case OPT_VERSION:
		puts(PACKAGE_STRING);
		break;
	case OPT_HELP_CONFIG:
		conf_help(stdout);
		break;
	case OPT_SAMPLE:
		conf_sample(stdout);
		break;
	default:
		return -1;
	}
	return fflush(stdout) || ferror(stdout) ? 6 : 0;
}

static int parse_port(const char *text, unsigned *port)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || text[0] < '0' || text[0] > '9' || n < 1 || n > 65535)
		return usage("--port wants a number from 1 to 65535");
	*port = (unsigned)n;
	return -1;
}

static int parse(int argc, char **argv, struct line *l)
{
	int opt, end;

	while ((opt = getopt_long(argc, argv, "m:", OPTIONS, NULL)) != -1) {
		switch (opt) {
		case OPT_DATA: l->init.data = optarg; break;
		case OPT_CONF: l->conf = optarg; break;
		case OPT_SITE: l->init.site = optarg; break;
		case OPT_STAGING: l->init.staging = optarg; break;
		case OPT_PRODUCTION: l->init.production = optarg; break;
		case OPT_USER: l->init.user = optarg; break;
		case OPT_DEEP: l->fsck.deep = true; break;
		case OPT_REPAIR: l->fsck.repair = true; break;
		case OPT_JSON: l->fsck.json = true; break;
		case OPT_REPLACE: l->replace = true; break;
		case OPT_NEW: l->key.from = optarg; break;
		case OPT_KEEP_OLD: l->key.keep = true; break;
		case 'm': l->reason = optarg; break;
		case OPT_PORT:
			if ((end = parse_port(optarg, &l->init.port)) >= 0)
				return end;
			break;
		case OPT_ADMIN:
			if (l->init.n_admins == sizeof(l->admins) / sizeof(*l->admins))
				return usage("too many --admin");
			l->admins[l->init.n_admins++] = optarg;
			break;
		default:
			if ((end = print_and_end(opt)) >= 0)
				return end;
			return usage("this option is not known, or lacks its value");
		}
	}
	l->init.admins = l->admins;
	if (optind == argc)
		return usage("say what to do");
	l->command = argv[optind++];
	if (!strcmp(l->command, "admin")) {
		if (optind == argc)
			return usage("admin wants a user");
		l->user = argv[optind++];
	}
	if (!strcmp(l->command, "backup") || !strcmp(l->command, "restore")) {
		if (optind == argc)
			return usage("backup and restore want a directory");
		l->place = argv[optind++];
	}
	if (!strcmp(l->command, "key")) {
		if (optind == argc || (strcmp(argv[optind], "change") && strcmp(argv[optind], "list")))
			return usage("say `key change` or `key list`");
		l->verb = argv[optind++];
	}
	if (optind != argc)
		return usage("there are more arguments than this command takes");
	if (l->init.data && l->conf)
		return usage("--data and --conf exclude each other: the file says where the data directory is");
	return -1;
}

/* What only init understands is refused elsewhere instead of being ignored. */
static int check_options(const struct line *l)
{
	bool init = !strcmp(l->command, "init"), admin = !strcmp(l->command, "admin"), fsck = !strcmp(l->command, "fsck");
	bool change = l->verb && !strcmp(l->verb, "change"), list = l->verb && !change;

	if (!init && (l->init.staging || l->init.production || l->init.port || l->init.user || l->init.n_admins))
		return usage("--staging, --production, --port, --user and --admin belong to init");
	if (!init && !admin && !fsck && l->init.site)
		return usage("--site belongs to init, admin and fsck");
	if (!fsck && (l->fsck.deep || l->fsck.repair))
		return usage("--deep and --repair belong to fsck");
	if (!fsck && !list && l->fsck.json)
		return usage("--json belongs to fsck and key list");
	if (l->reason && !change && strcmp(l->command, "accept-loss"))
		return usage("-m belongs to accept-loss and key change");
	if (!change && (l->key.from || l->key.keep))
		return usage("--new and --keep-old belong to key change");
	if (!strcmp(l->command, "restore") && (!l->init.data || l->conf))
		return usage("restore wants --data DIR, the directory to be made");
	if (l->replace && strcmp(l->command, "rebuild"))
		return usage("--replace belongs to rebuild");
	if (init && (!l->init.data || l->conf))
		return usage("init wants --data DIR");
	return -1;
}

static enum err load_conf(const struct line *l, struct conf **conf)
{
	char *file = l->conf ? mem_dup(l->conf) : l->init.data ? mem_printf("%s/drydock.conf", l->init.data) : mem_dup(CONF_FILE);
	/* The daemon looks at the directories itself, as the user that it becomes. */
	enum err e = geteuid() == 0 ? conf_load_unchecked(conf, file) : conf_load(conf, file);

	free(file);
	return e;
}

/* As root everything but the monitor runs as option user. */
static enum err need_user(const struct conf *conf)
{
	if (geteuid() == 0 && !*conf->user)
		return err_set(ERR_INPUT, "%s: started as root, the daemon has to know which user to run as: set option user", conf->file);
	return ERR_OK;
}

static enum err run(const struct line *l, int *status)
{
	struct conf *conf = NULL;
	enum err e;

	*status = 0;
	if (!strcmp(l->command, "init")) {
		e = daemon_init(&l->init);
		if (!e)
			printf("%s is a data directory. Its configuration is %s/drydock.conf.\n", l->init.data, l->init.data);
		return e;
	}
	if (!strcmp(l->command, "restore"))
		return daemon_restore(l->place, l->init.data);
	e = load_conf(l, &conf);
	if (e)
		return e;
	e = need_user(conf);
	if (e)
		goto out;
	if (!strcmp(l->command, "serve") && geteuid() == 0) {
		daemon_signals();
		mem_share_arenas();
		e = daemon_monitor(conf, status);
		goto out;
	}
	/* A server that runs is asked by whoever calls, not by the user that it runs as. */
	if (geteuid() == 0 && !(!strcmp(l->command, "fsck") && datadir_in_use(conf->data))) {
		struct conf *again = NULL;

		e = daemon_become(conf->user);
		if (!e)
			e = conf_load(&again, conf->file);
		if (e)
			goto out;
		conf_free(conf);
		conf = again;
	}
	if (!strcmp(l->command, "serve")) {
		daemon_signals();
		mem_share_arenas();
		e = daemon_serve_alone(conf);
	} else if (!strcmp(l->command, "admin")) {
		e = daemon_admin(conf, l->user, l->init.site);
	} else if (!strcmp(l->command, "fsck")) {
		e = daemon_fsck(conf, &l->fsck, status);
	} else if (!strcmp(l->command, "rebuild")) {
		e = daemon_rebuild(conf, l->replace);
	} else if (!strcmp(l->command, "backup")) {
		e = daemon_backup(conf, l->place);
	} else if (!strcmp(l->command, "accept-loss")) {
		e = daemon_accept_loss(conf, l->reason ? l->reason : "");
	} else if (l->verb && !strcmp(l->verb, "list")) {
		e = daemon_key_list(conf, l->fsck.json);
	} else if (l->verb) {
		e = daemon_key_change(conf, &l->key);
	} else {
		printf("%s is right: %zu site%s.\n", conf->file, conf->n_sites, conf->n_sites == 1 ? "" : "s");
	}
out:
	conf_free(conf);
	return e;
}

int main(int argc, char **argv)
{
	static const char *const COMMANDS[] = { "init", "serve", "admin", "check-config", "fsck", "rebuild", "backup", "restore", "accept-loss", "key" };
	struct line l = { 0 };
	bool known = false;
	int status;
	enum err e;

	/* Names are UTF-8 whatever the environment says; numbers stay as they are in C. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		fputs("drydockd: the locale C.UTF-8 is missing\n", stderr);
	status = parse(argc, argv, &l);
	if (status >= 0)
		return status;
	for (size_t i = 0; i < sizeof(COMMANDS) / sizeof(*COMMANDS); i++)
		known |= !strcmp(l.command, COMMANDS[i]);
	if (!known)
		return usage("there is no such command");
	status = check_options(&l);
	if (status >= 0)
		return status;
	l.fsck.site = l.init.site;
	l.key.reason = l.reason ? l.reason : "";
	e = run(&l, &status);
	if (e) {
		fprintf(stderr, "drydockd: %s\n", err_text());
		return strcmp(l.command, "fsck") ? daemon_status(e) : 3;
	}
	return status;
}
