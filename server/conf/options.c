/* The table of all options, and what is printed from it. */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/options.h"

#define SECONDS(n) ((uint64_t)(n) * 1000000)
#define HOURS(n) (SECONDS(n) * 3600)
#define DAYS(n) (HOURS(n) * 24)
#define AT(member) offsetof(struct conf, member)

const struct option conf_options[] = {
	{ "data", OPTION_TEXT, AT(data), "", 0, 0, CHECK_DIRECTORY, false, NULL,
	    "The data directory: key, repositories, export directories, the private database and the local socket. Made by "
	    "`drydockd init`. Not set: the directory that holds this file. Keep the name short: sockets live in it." },
	{ "name", OPTION_TEXT, AT(name), "drydock", 1, 64, CHECK_NAME, false, NULL,
	    "The name of this installation, as counters and queues report it. Servers that share a database share it." },
	{ "user", OPTION_TEXT, AT(user), "", 0, 32, CHECK_NAME, false, NULL,
	    "When started as root: the UNIX user that the daemon runs as. A small monitor stays root and starts it again "
	    "should it end; the daemon itself is never root. The data directory has to belong to this user." },
	{ "address", OPTION_TEXT, AT(address), "127.0.0.1", 0, 64, CHECK_ADDRESS, false, NULL,
	    "The numeric address to listen on. Anything but loopback wants a proxy that speaks TLS in front: then set "
	    "public_url to its https address, or allow_plain_http if you know what you are doing." },
	{ "port", OPTION_NUMBER, AT(port), "8087", 1, 65535, CHECK_NOTHING, false, NULL, "The port to listen on." },
	{ "public_url", OPTION_TEXT, AT(public_url), "", 0, 0, CHECK_URL, false, NULL,
	    "What people type to get here, such as https://drydock.example.org; without a path. Forms are accepted from "
	    "there only, and with https cookies are marked Secure. Not set: http://ADDRESS:PORT." },
	{ "allow_plain_http", OPTION_BOOL, AT(allow_plain_http), "no", 0, 0, CHECK_NOTHING, false, NULL,
	    "Listen on an address other than loopback without https in public_url. Passwords then cross the network in "
	    "the clear." },
	{ "preview_port", OPTION_NUMBER, AT(preview_port), "0", 0, 65535, CHECK_NOTHING, false, NULL,
	    "The port for previews of staged pages, on hosts of their own (TOKEN.PREVIEW_HOST), so that links from the "
	    "root of the site resolve. 0: previews are served below a path of the main port, and such links do not." },
	{ "preview_host", OPTION_TEXT, AT(preview_host), "localhost", 0, 253, CHECK_HOST, false, NULL,
	    "The name behind the token of a preview. Every name below it must lead here: browsers take TOKEN.localhost "
	    "for this machine; elsewhere use a wildcard name such as preview.example.org." },
	{ "demo_port", OPTION_NUMBER, AT(demo_port), "0", 0, 65535, CHECK_NOTHING, false, NULL,
	    "Serve the files of demo_directory on this port, so that one can watch the sample site go live. For trying "
	    "DryDock out; a real site has a web server of its own. 0: no." },
	{ "demo_directory", OPTION_TEXT, AT(demo_directory), "", 0, 0, CHECK_DIRECTORY, false, NULL,
	    "What demo_port serves: the place of a `local` target." },
	{ "database", OPTION_TEXT, AT(database_url), "", 0, 0, CHECK_NOTHING, false, NULL,
	    "The database, such as mysql://drydock@db.example.org:3306/drydock or "
	    "mysql://drydock@localhost/drydock?socket=/run/mysqld/mysqld.sock. The password comes from "
	    "database_password_file. Not set: a private MariaDB in the data directory, started and watched by DryDock." },
	{ "database_password_file", OPTION_TEXT, AT(database_password_file), "", 0, 0, CHECK_SECRET, false, NULL,
	    "A file with the database password on its first line, readable by its owner only." },
	{ "proxy_user", OPTION_TEXT, AT(proxy_user), "", 0, 32, CHECK_NAME, false, NULL,
	    "The UNIX user that a proxy in front runs as (www-data). It gets a socket of its own, on which nobody else may "
	    "connect, and on which what its headers say is believed; everywhere else they are ignored. Not set: none." },
	{ "proxy_socket", OPTION_TEXT, AT(proxy_socket), "", 0, 107, CHECK_DIRECTORY, false, NULL,
	    "That socket. Not set: proxy.sock in the data directory." },
	{ "proxy_user_header", OPTION_TEXT, AT(proxy_user_header), "", 0, 64, CHECK_HEADER, false, NULL,
	    "The header in which the proxy says who is asking (X-Remote-User), whom it has authenticated: proxy:NAME. The "
	    "proxy has to set or clear it in every request. Not set: people log in here, the proxy only speaks TLS." },
	{ "proxy_groups_header", OPTION_TEXT, AT(proxy_groups_header), "", 0, 64, CHECK_HEADER, false, NULL,
	    "The header with his groups, commas between: proxy:@GROUP each." },
	{ "proxy_address_header", OPTION_TEXT, AT(proxy_address_header), "X-Forwarded-For", 0, 64, CHECK_HEADER, false, NULL,
	    "The header with the client's address, for the log, for events, and for slowing down failed logins; of a list "
	    "the last one, which the proxy itself has put there." },
	{ "workers", OPTION_NUMBER, AT(workers), "4", 1, 64, CHECK_NOTHING, false, NULL,
	    "Threads for what has to wait on disk, git or database. Each has a database connection of its own." },
	{ "connections", OPTION_NUMBER, AT(connections), "512", 16, 16384, CHECK_NOTHING, false, NULL,
	    "HTTP connections that are served at the same time. When three quarters are taken, those go first that have waited "
	    "longest for their peer. 16 times as many, if so many files may be open, may wait with a request that is not all there." },
	{ "connections_per_address", OPTION_NUMBER, AT(connections_per_address), "128", 4, 16384, CHECK_NOTHING, false, NULL,
	    "HTTP connections at the same time from one address. Behind a proxy this is the proxy's share." },
	{ "header_deadline", OPTION_DURATION, AT(header_deadline_us), "20s", SECONDS(1), SECONDS(600), CHECK_NOTHING, false, NULL,
	    "The head of a request has to have arrived after this time." },
	{ "body_deadline", OPTION_DURATION, AT(body_deadline_us), "60s", SECONDS(1), HOURS(1), CHECK_NOTHING, false, NULL,
	    "The body of a request has to have arrived after this time." },
	{ "response_deadline", OPTION_DURATION, AT(response_deadline_us), "10min", SECONDS(1), HOURS(6), CHECK_NOTHING, false, NULL,
	    "A peer has to have taken an answer after this time. Event streams are not meant." },
	{ "stream_deadline", OPTION_DURATION, AT(stream_deadline_us), "1h", SECONDS(1), DAYS(1), CHECK_NOTHING, false, NULL,
	    "A stream of live events is ended after this time; browsers take it up again by themselves." },
	{ "idle", OPTION_DURATION, AT(idle_us), "75s", SECONDS(1), HOURS(1), CHECK_NOTHING, false, NULL,
	    "A connection on which nothing happens is closed after this time." },
	{ "session_idle", OPTION_DURATION, AT(session_idle_us), "8h", SECONDS(60), DAYS(90), CHECK_NOTHING, false, NULL,
	    "A browser that did nothing for this time has to log in again." },
	{ "session_absolute", OPTION_DURATION, AT(session_absolute_us), "7d", SECONDS(60), DAYS(365), CHECK_NOTHING, false, NULL,
	    "So has everybody after this time." },
	{ "login_order", OPTION_TEXT, AT(login_order), "own unix", 0, 64, CHECK_ORDER, false, NULL,
	    "Whose passwords are taken, and in which order a name is looked for: own (DryDock's accounts), unix (users of "
	    "this machine, through PAM; needs to be started as root). The first that has the name decides." },
	{ "pam_service", OPTION_TEXT, AT(pam_service), "drydock", 0, 64, CHECK_KIT, false, NULL,
	    "The PAM service for passwords of UNIX users: the name of a file in /etc/pam.d." },
	{ "password_deadline", OPTION_DURATION, AT(password_deadline_us), "10s", SECONDS(1), SECONDS(120), CHECK_NOTHING, false, NULL,
	    "PAM has to say after this time whether a password is right; a try that takes longer is ended." },
	{ "nss_deadline", OPTION_DURATION, AT(nss_deadline_us), "3s", SECONDS(1) / 10, SECONDS(60), CHECK_NOTHING, false, NULL,
	    "The machine's user database (NSS) has to answer a question after this time." },
	{ "group_cache", OPTION_DURATION, AT(group_cache_us), "60s", SECONDS(1), HOURS(1), CHECK_NOTHING, false, NULL,
	    "How long it is remembered who somebody is and which groups he is in. So long he keeps what he had." },
	{ "check_hour", OPTION_NUMBER, AT(check_hour), "2", 0, 24, CHECK_NOTHING, false, NULL,
	    "The hour of the night, UTC, at which everything is checked as by drydockd fsck, on Sundays with every byte. An "
	    "admin sees on his home page what was found. 24: never." },
	{ "mail_server", OPTION_TEXT, AT(mail_server), "smtp://localhost:25", 0, 255, CHECK_MAIL_URL, false, NULL,
	    "Where mail for mail_to goes: smtp://HOST[:PORT], or smtps:// for TLS from the first byte. With smtp:// any host but "
	    "this machine has to offer STARTTLS." },
	{ "mail_user", OPTION_TEXT, AT(mail_user), "", 0, 255, CHECK_NOTHING, false, NULL, "The name to log in there with. Not set: no login." },
	{ "mail_password_file", OPTION_TEXT, AT(mail_password_file), "", 0, 0, CHECK_SECRET, false, NULL,
	    "A file with the password for it on its first line, readable by its owner only." },
	{ "notice_ca_file", OPTION_TEXT, AT(notice_ca_file), "", 0, 0, CHECK_DIRECTORY, false, NULL,
	    "Certificates (PEM) of the authorities that mail servers and webhooks are checked against, in place of the system's: for those with an "
	    "authority of their own." },
	{ "mail_from", OPTION_TEXT, AT(mail_from), "drydock@localhost", 0, 254, CHECK_MAIL, false, NULL, "The sender's address." },
	{ "sendmail", OPTION_TEXT, AT(sendmail), "", 0, 0, CHECK_DIRECTORY, false, NULL,
	    "A command that takes mail in place of mail_server: /usr/sbin/sendmail. It is run with -i -f SENDER -- RECIPIENT..." },
	{ "event_keep", OPTION_DURATION, AT(event_keep_us), "90d", HOURS(1), DAYS(3650), CHECK_NOTHING, false, NULL,
	    "How long logins, failures and refusals are kept. Records of acts are kept for ever." },
	{ "log_level", OPTION_TEXT, AT(log_level), "info", 0, 8, CHECK_LOG_LEVEL, true, NULL,
	    "What goes to standard error: debug, info, warn or error and what is worse." },
	{ "templates", OPTION_TEXT, AT(templates), "templates", 0, 0, CHECK_DIRECTORY, false, NULL, "The pages' templates." },
	{ "static_files", OPTION_TEXT, AT(static_files), "static", 0, 0, CHECK_DIRECTORY, false, NULL, "Style sheet, scripts, icons." },
	{ "kits", OPTION_TEXT, AT(kits), "sync-scripts", 0, 0, CHECK_DIRECTORY, false, NULL,
	    "The kits that take a release to its targets; their contract is the README there." },
	{ "sql", OPTION_TEXT, AT(sql), "sql", 0, 0, CHECK_DIRECTORY, false, NULL, "The numbered migrations of the database." },
	{ NULL },
};

#undef AT
#define AT(member) offsetof(struct conf_site, member)

const struct option conf_site_options[] = {
	{ "title", OPTION_TEXT, AT(title), "", 0, 120, CHECK_NOTHING, false, "Harbour Authority", "The site's name for people. Not set: its name." },
	{ "staging", OPTION_TEXT, AT(staging), NULL, 0, 0, CHECK_DIRECTORY, false, "/srv/staging/www",
	    "The staging tree: the directory in which people edit. DryDock only reads it. It, the data directory and the "
	    "places of targets may not contain one another." },
	{ "live_url", OPTION_TEXT, AT(live_url), "", 0, 0, CHECK_PAGE_URL, false, "https://www.example.org/",
	    "Where production can be looked at, for links on pages." },
	{ "quiet_period", OPTION_DURATION, AT(quiet_us), "5min", 0, DAYS(7), CHECK_NOTHING, true, NULL,
	    "A sync starts when nothing was signed or revoked for this time." },
	{ "longest_interval", OPTION_DURATION, AT(longest_us), "60min", SECONDS(1), DAYS(31), CHECK_NOTHING, true, NULL,
	    "A sync starts at least this often, whatever was signed; it also takes up pre-approved files." },
	{ "release_expiry", OPTION_DURATION, AT(release_expiry_us), "30d", HOURS(1), DAYS(3650), CHECK_NOTHING, false, NULL,
	    "A receiver on production takes a release only this long after it was cut. At half of it a new one is cut, even "
	    "of the same files." },
	{ "release_keep", OPTION_NUMBER, AT(release_keep), "1000", 2, 1000000, CHECK_NOTHING, false, NULL,
	    "So many releases keep their tag in the repository. Older ones stay in the log, and can be looked at and "
	    "rolled back to all the same." },
	{ "removal_share", OPTION_NUMBER, AT(removal_share), "20", 0, 100, CHECK_NOTHING, true, NULL,
	    "A release that would take away more than so many per cent of the site's files waits until an admin of the whole "
	    "site has confirmed the list. 0: the share does not matter." },
	{ "removal_least", OPTION_NUMBER, AT(removal_least), "10", 0, 1000000000, CHECK_NOTHING, true, NULL,
	    "So few files may always go." },
	{ "removal_most", OPTION_NUMBER, AT(removal_most), "5000", 0, 1000000000, CHECK_NOTHING, true, NULL,
	    "More files than that wait for an admin, whatever their share. 0: the number does not matter." },
	{ "largest_file", OPTION_SIZE, AT(largest_file), "2GiB", 1, UINT64_C(1) << 42, CHECK_NOTHING, false, NULL,
	    "A larger file cannot be published." },
	{ "watch", OPTION_BOOL, AT(watch), "yes", 0, 0, CHECK_NOTHING, false, NULL,
	    "Watch the staging tree with inotify. On a network file system that other machines write to, say no: then "
	    "each question reads the directories that it is about." },
	{ "sign_password", OPTION_BOOL, AT(sign_password), "no", 0, 0, CHECK_NOTHING, false, NULL,
	    "Ask for the password again with each signature. People who come through a proxy that names them, and API "
	    "tokens, cannot sign then." },
	{ "mail_to", OPTION_WORDS, AT(mail_to), "", 0, 254, CHECK_MAIL, false, "\"web@example.org\"",
	    "Who gets a mail when a sync to a target fails, and when it is well again: a list of addresses, at most 100." },
	{ "webhook", OPTION_WORDS, AT(webhooks), "", 0, 1000, CHECK_PAGE_URL, false, "\"https://chat.example.org/hooks/drydock\"",
	    "Addresses that are told the same by a POST of JSON: a list, at most 8." },
	{ "webhook_secret_file", OPTION_TEXT, AT(webhook_secret_file), "", 0, 0, CHECK_SECRET, false, NULL,
	    "A file with a secret on its first line, readable by its owner only: each POST then carries X-DryDock-Signature, "
	    "sha256= and the HMAC-SHA256 of its body." },
	{ "meaning", OPTION_WORDS, AT(meanings), "", 0, 64, CHECK_NOTHING, false, "\"approved for publication\", \"checked by law\"",
	    "What a signature can mean: a list. Who signs chooses one, and the record says which. Not set: it is not asked." },
	{ NULL },
};

#undef AT
#define AT(member) offsetof(struct conf_target, member)

const struct option conf_target_options[] = {
	{ "kit", OPTION_TEXT, AT(kit), "local", 0, 64, CHECK_KIT, false, "local", "The kit: the name of an executable in the kits directory." },
	{ "place", OPTION_TEXT, AT(place), NULL, 0, 0, CHECK_NOTHING, false, "/srv/www",
	    "Where the kit brings the files: for `local` an existing directory on this machine, which holds nothing else." },
	{ "deadline", OPTION_DURATION, AT(deadline_us), "10min", SECONDS(1), DAYS(1), CHECK_NOTHING, false, NULL,
	    "A kit that takes longer is ended, and tried again later." },
	{ "silence", OPTION_DURATION, AT(silence_us), "60s", SECONDS(1), DAYS(1), CHECK_NOTHING, false, NULL,
	    "A kit that has printed nothing for so long is ended as soon as the site's next sync is due: it keeps the other targets waiting." },
	{ "host", OPTION_TEXT, AT(host), "", 0, 253, CHECK_NOTHING, false, NULL, "For the kits tar-ssh and rsync-ssh: the production machine." },
	{ "ssh_user", OPTION_TEXT, AT(ssh_user), "drydock", 0, 64, CHECK_NOTHING, false, NULL,
	    "The user there, who owns the receiver's state directory." },
	{ "ssh_port", OPTION_NUMBER, AT(ssh_port), "22", 1, 65535, CHECK_NOTHING, false, NULL, "The port of its sshd." },
	{ "key_file", OPTION_TEXT, AT(key_file), "", 0, 0, CHECK_NOTHING, false, NULL,
	    "The private key that production binds to drydock-receive by command=. No other kit can read it." },
	{ "known_hosts", OPTION_TEXT, AT(known_hosts), "", 0, 0, CHECK_NOTHING, false, NULL,
	    "A file with the key of that machine, as ssh-keyscan prints it; no other host is spoken to." },
	{ "receiver_key", OPTION_TEXT, AT(receiver_key), "", 0, 128, CHECK_NOTHING, false, NULL,
	    "The receiver's public key (ssh-ed25519 ..., from `drydock-receive status`): a release counts as there only with its "
	    "signed receipt. Not set: the kit's word is taken." },
	{ "option", OPTION_WORDS, AT(options), "", 0, 64, CHECK_PAIR, false, "\"key=value\"", "What else the kit is told: a list of \"key=value\"." },
	{ NULL },
};

#undef AT

static const char *type_name(enum option_type t)
{
	switch (t) {
	case OPTION_TEXT: return "text";
	case OPTION_WORDS: return "list";
	case OPTION_NUMBER: return "number";
	case OPTION_BOOL: return "yes or no";
	case OPTION_DURATION: return "duration";
	case OPTION_SIZE: return "size";
	}
	return "";
}

/* Text in lines of at most 96 bytes, each with the prefix before it. */
static void wrapped(FILE *out, const char *prefix, const char *text)
{
	while (*text) {
		size_t len = strlen(text), cut = len;

		if (len > 96) {
			for (cut = 96; cut && text[cut] != ' '; cut--)
				;
			if (!cut)
				cut = strcspn(text, " ");
		}
		fprintf(out, "%s%.*s\n", prefix, (int)cut, text);
		text += cut;
		while (*text == ' ')
			text++;
	}
}

static void bounds_text(const struct option *o, struct buf *b)
{
	switch (o->type) {
	case OPTION_NUMBER:
		buf_fmt(b, ", %llu to %llu", (unsigned long long)o->low, (unsigned long long)o->high);
		break;
	case OPTION_DURATION:
		buf_str(b, ", ");
		conf_duration_text((int64_t)o->low, b);
		buf_str(b, " to ");
		conf_duration_text((int64_t)o->high, b);
		break;
	case OPTION_SIZE:
		buf_str(b, ", ");
		conf_size_text(o->low, b);
		buf_str(b, " to ");
		conf_size_text(o->high, b);
		break;
	case OPTION_TEXT:
	case OPTION_WORDS:
	case OPTION_BOOL:
		break;
	}
}

static bool in_share(const struct option *o)
{
	return o->fallback && *o->fallback && o->check == CHECK_DIRECTORY;
}

static void help_rows(FILE *out, const struct option *o)
{
	for (; o->name; o++) {
		struct buf b = BUF_INIT(256);

		bounds_text(o, &b);
		fprintf(out, "  %s (%s%s", o->name, type_name(o->type), buf_text(&b));
		if (!o->fallback)
			fputs(", has to be set", out);
		else if (in_share(o))
			fprintf(out, ", default %s of the installation", o->fallback);
		else if (*o->fallback)
			fprintf(out, ", default %s", o->fallback);
		fprintf(out, "%s)\n", o->reload ? ", taken up by SIGHUP" : "");
		wrapped(out, "      ", o->text);
		buf_release(&b);
	}
}

void conf_help(FILE *out)
{
	fputs("The configuration file: name = value, one a line; # begins a comment. Text is written in quotes.\n"
	      "Durations: 500ms, 90s, 5min, 8h, 7d. Sizes: 500kB, 16MiB, 2GiB. Nothing is taken from the environment.\n\n"
	      "Options of the installation:\n",
	    out);
	help_rows(out, conf_options);
	fputs("\nOptions of a site, in site \"NAME\" { ... }, one block for each site:\n", out);
	help_rows(out, conf_site_options);
	fputs("\nOptions of a target, in target \"NAME\" { ... } inside a site, one block for each target:\n", out);
	help_rows(out, conf_target_options);
}

static void sample_rows(FILE *out, const struct option *o, const char *indent)
{
	for (; o->name; o++) {
		char prefix[16];
		bool quoted = o->type == OPTION_TEXT || o->type == OPTION_DURATION || o->type == OPTION_SIZE;
		const char *value = o->sample ? o->sample : o->fallback, *q = quoted ? "\"" : "";

		snprintf(prefix, sizeof(prefix), "%s# ", indent);
		wrapped(out, prefix, o->text);
		if (in_share(o))
			fprintf(out, "%s#%s = \"/usr/share/drydock/%s\"\n\n", indent, o->name, value);
		else if (o->type == OPTION_WORDS)
			fprintf(out, "%s#%s = {%s}\n\n", indent, o->name, o->sample);
		else
			fprintf(out, "%s%s%s = %s%s%s\n\n", indent, o->sample ? "" : "#", o->name, q, value, q);
	}
}

void conf_sample(FILE *out)
{
	fputs("# DryDock's configuration, written by `drydockd --sample-config`. Every option with its default; a line that begins\n"
	      "# with # is a comment. Durations: 500ms, 90s, 5min, 8h, 7d. Sizes: 500kB, 16MiB, 2GiB.\n\n",
	    out);
	sample_rows(out, conf_options, "");
	fputs("# One block for each site. Its name is part of addresses and of every record: it cannot be changed later.\n"
	      "site \"www\" {\n",
	    out);
	sample_rows(out, conf_site_options, "\t");
	fputs("\t# One block for each place that the approved files are sent to.\n\ttarget \"production\" {\n", out);
	sample_rows(out, conf_target_options, "\t\t");
	fputs("\t}\n}\n", out);
}

/* --- what differs --------------------------------------------------------------------------------------------------- */

static bool same_value(const struct option *o, const char *a, const char *b)
{
	switch (o->type) {
	case OPTION_TEXT:
		return !strcmp(*(const char *const *)(a + o->at), *(const char *const *)(b + o->at));
	case OPTION_NUMBER:
		return *(const unsigned *)(a + o->at) == *(const unsigned *)(b + o->at);
	case OPTION_BOOL:
		return *(const bool *)(a + o->at) == *(const bool *)(b + o->at);
	case OPTION_DURATION:
		return *(const int64_t *)(a + o->at) == *(const int64_t *)(b + o->at);
	case OPTION_SIZE:
		return *(const uint64_t *)(a + o->at) == *(const uint64_t *)(b + o->at);
	case OPTION_WORDS: {
		const struct option_words *x = (const struct option_words *)(const void *)(a + o->at), *y = (const struct option_words *)(const void *)(b + o->at);

		if (x->n != y->n)
			return false;
		for (size_t i = 0; i < x->n; i++)
			if (strcmp(x->list[i], y->list[i]))
				return false;
		return true;
	}
	}
	return false;
}

static void compare_rows(const struct option *o, const void *a, const void *b, const char *where,
    void (*fn)(void *arg, const char *option, bool reload), void *arg)
{
	for (; o->name; o++)
		if (!same_value(o, a, b)) {
			char *name = mem_printf("%s%s", where, o->name);

			fn(arg, name, o->reload);
			free(name);
		}
}

const struct conf_target *conf_target(const struct conf_site *s, const char *name)
{
	for (size_t i = 0; i < s->n_targets; i++)
		if (!strcmp(s->targets[i].name, name))
			return &s->targets[i];
	return NULL;
}

void conf_compare(const struct conf *a, const struct conf *b, void (*fn)(void *arg, const char *option, bool reload), void *arg)
{
	compare_rows(conf_options, a, b, "", fn, arg);
	for (size_t i = 0; i < a->n_sites; i++) {
		const struct conf_site *x = &a->sites[i], *y = conf_site(b, x->name);
		char *where = mem_printf("site %s: ", x->name);

		if (y) {
			compare_rows(conf_site_options, x, y, where, fn, arg);
			for (size_t j = 0; j < x->n_targets; j++) {
				const struct conf_target *t = conf_target(y, x->targets[j].name);
				char *at = mem_printf("site %s: target %s: ", x->name, x->targets[j].name);

				if (t)
					compare_rows(conf_target_options, &x->targets[j], t, at, fn, arg);
				free(at);
			}
			if (x->n_targets != y->n_targets)
				fn(arg, where, false);
			else
				for (size_t j = 0; j < y->n_targets; j++)
					if (!conf_target(x, y->targets[j].name))
						fn(arg, where, false);
		} else {
			fn(arg, where, false);
		}
		free(where);
	}
	for (size_t i = 0; i < b->n_sites; i++)
		if (!conf_site(a, b->sites[i].name)) {
			char *where = mem_printf("site %s: ", b->sites[i].name);

			fn(arg, where, false);
			free(where);
		}
}
