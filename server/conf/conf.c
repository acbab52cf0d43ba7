/*
 * Parsing with libconfuse. All values are read as text and converted by our table, while the parser still knows the
 * line. libconfuse would put environment variables into the text: a file with "${" in it is refused before it gets there.
 */
#include <confuse.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "conf/conf.h"
#include "conf/options.h"
#include "core/path.h"

#define FILE_LIMIT (1024 * 1024)

/* Where something was written, for errors that are found later. */
struct mark {
	cfg_t *section;
	const char *name; /* of the option, from the table; NULL: the section itself */
	int line;
};

struct parse {
	const char *file;
	struct mark *marks;
	size_t n_marks, cap_marks;
	bool failed; /* err_text() holds the first error */
};

/* Owned by whoever holds the struct conf at its start. */
struct conf_owned {
	struct conf c;
	struct arena *arena;
};

/* libconfuse's callbacks get no argument of ours. */
static _Thread_local struct parse *now;

static int line_of(const struct parse *p, const cfg_t *section, const char *name)
{
	for (size_t i = 0; i < p->n_marks; i++)
		if (p->marks[i].section == section && (name ? p->marks[i].name && !strcmp(p->marks[i].name, name) : !p->marks[i].name))
			return p->marks[i].line;
	return 0;
}

static void mark(struct parse *p, cfg_t *section, const char *name, int line)
{
	p->marks = mem_grow(p->marks, &p->cap_marks, p->n_marks + 1, sizeof(*p->marks));
	p->marks[p->n_marks++] = (struct mark){ section, name, line };
}

/* An error at an option that was set, at the section if it was not. */
static enum err at_option(const struct parse *p, const cfg_t *section, const char *name, enum err e)
{
	int line = line_of(p, section, name);

	return err_prefix(e, "%s:%d: %s", p->file, line ? line : line_of(p, section, NULL), name);
}

/* --- what libconfuse calls ------------------------------------------------------------------------------------------ */

static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
	char text[1024];

	if (!now || now->failed)
		return;
	now->failed = true;
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	/* Its sentences end without a period, and name no file. */
	(void)err_set(ERR_INPUT, "%s:%d: %s", now->file, cfg ? cfg->line : 0, text);
}

static const struct option *rows_of(const cfg_t *cfg)
{
	if (!strcmp(cfg->name, "site"))
		return conf_site_options;
	if (!strcmp(cfg->name, "target"))
		return conf_target_options;
	return conf_options;
}

/* A failure whose sentence is set already: with file and line, and told to libconfuse by the result. */
static int refuse(const cfg_t *cfg, const char *name)
{
	if (!now->failed)
		(void)err_prefix(ERR_INPUT, "%s:%d: %s", now->file, cfg->line, name);
	now->failed = true;
	return -1;
}

static int on_option(cfg_t *cfg, cfg_opt_t *opt)
{
	const struct option *o = rows_of(cfg);

	while (o->name && strcmp(o->name, opt->name))
		o++;
	if (!o->name)
		return 0;
	if (line_of(now, cfg, o->name) && o->type != OPTION_WORDS) {
		(void)err_set(ERR_INPUT, "set before, in line %d", line_of(now, cfg, o->name));
		return refuse(cfg, o->name);
	}
	mark(now, cfg, o->name, cfg->line);
	for (unsigned i = 0; i < cfg_opt_size(opt); i++) {
		const char *text = cfg_opt_getnstr(opt, i);

		if (option_set(o, text ? text : "", NULL, NULL))
			return refuse(cfg, o->name);
	}
	return 0;
}

static bool target_name_valid(const char *name)
{
	return strlen(name) <= 64 && name_bytes(name, LOWER DIGIT "_-") && name[0] != '-';
}

/* Called when a section has been read to its end. */
static int on_section(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	bool site = !strcmp(opt->name, "site");

	mark(now, sec, NULL, cfg->line);
	if (site ? site_name_valid(cfg_title(sec)) : target_name_valid(cfg_title(sec)))
		return 0;
	(void)err_set(ERR_INPUT, "\"%s\" is not a valid name: %s", cfg_title(sec),
	    site ? "lower-case letters and digits, with \"-\", \"_\" and \".\" between them, at most 64, not \"installation\", "
	           "not ending in .git or .lock" :
	           "lower-case letters, digits, \"-\" and \"_\", at most 64");
	return refuse(cfg, opt->name);
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static size_t option_rows(cfg_opt_t *out, const struct option *o)
{
	size_t n = 0;

	for (; o->name; o++, n++) {
		cfg_opt_t text = CFG_STR(o->name, NULL, CFGF_NODEFAULT), list = CFG_STR_LIST(o->name, NULL, CFGF_NODEFAULT);

		out[n] = o->type == OPTION_WORDS ? list : text;
		out[n].validcb = on_option;
	}
	return n;
}

static void fill_words(cfg_t *cfg, const struct option *o, void *base, struct arena *a)
{
	const unsigned n = cfg_size(cfg, o->name);
	const char **words = arena_alloc(a, (n + 1) * sizeof(*words));

	for (unsigned i = 0; i < n; i++)
		words[i] = arena_dup(a, cfg_getnstr(cfg, o->name, i));
	*(struct option_words *)(void *)((char *)base + o->at) = (struct option_words){ words, n };
}

_Static_assert(offsetof(struct conf_target, n_options) == offsetof(struct conf_target, options) + sizeof(void *) &&
    offsetof(struct conf_site, n_meanings) == offsetof(struct conf_site, meanings) + sizeof(void *), "lists are struct option_words");

/* Values of a section into a struct: what is set, else the default. */
static enum err fill(struct parse *p, cfg_t *cfg, const struct option *o, void *base, struct arena *a)
{
	for (; o->name; o++) {
		const char *text;
		enum err e;

		if (o->type == OPTION_WORDS) {
			fill_words(cfg, o, base, a);
			continue;
		}
		text = cfg_size(cfg, o->name) ? cfg_getstr(cfg, o->name) : NULL;
		if (!text && !o->fallback) {
			(void)err_set(ERR_INPUT, "has to be set: %s", o->text);
			return at_option(p, cfg, o->name, ERR_INPUT);
		}
		if (!text && *o->fallback && o->check == CHECK_DIRECTORY)
			text = arena_printf(a, "%s/%s", conf_share_dir(), o->fallback);
		e = option_set(o, text ? text : o->fallback, base, a);
		if (e)
			return at_option(p, cfg, o->name, e);
	}
	return ERR_OK;
}

static enum err fill_target(struct parse *p, cfg_t *cfg, struct conf_target *t, struct arena *a)
{
	t->name = arena_dup(a, cfg_title(cfg));
	return fill(p, cfg, conf_target_options, t, a);
}

static enum err fill_site(struct parse *p, cfg_t *cfg, struct conf_site *s, struct arena *a)
{
	size_t n = cfg_size(cfg, "target");
	struct conf_target *targets = arena_alloc(a, (n + 1) * sizeof(*targets));
	enum err e;

	s->name = arena_dup(a, cfg_title(cfg));
	e = fill(p, cfg, conf_site_options, s, a);
	if (e)
		return e;
	if (!*s->title)
		s->title = s->name;
	for (size_t i = 0; i < n; i++) {
		e = fill_target(p, cfg_getnsec(cfg, "target", (unsigned)i), &targets[i], a);
		if (e)
			return e;
	}
	s->targets = targets;
	s->n_targets = n;
	return ERR_OK;
}

static bool is_loopback(const char *address)
{
	return !strncmp(address, "127.", 4) || !strcmp(address, "::1");
}

/* "mysql://user:password@host": the configuration file is not a file of secrets. */
static bool holds_password(const char *url)
{
	const char *user = strstr(url, "://"), *at = user ? strchr(user, '@') : NULL;

	return at && memchr(user + 3, ':', (size_t)(at - user - 3));
}

/* What no single option can tell. */
/* A kit that goes to another machine has to know which, and to trust nothing else. */
static enum err check_targets(const struct parse *p, const struct conf *c)
{
	for (size_t i = 0; i < c->n_sites; i++)
		for (size_t j = 0; j < c->sites[i].n_targets; j++) {
			const struct conf_target *t = &c->sites[i].targets[j];

			if (strcmp(t->kit, "tar-ssh") && strcmp(t->kit, "rsync-ssh") && !*t->host)
				continue;
			if (!*t->host || t->key_file[0] != '/' || t->known_hosts[0] != '/' || *t->host == '-' || *t->ssh_user == '-')
				return err_set(ERR_INPUT, "%s: site \"%s\", target \"%s\": set host, and key_file and known_hosts as paths from the root",
				    p->file, c->sites[i].name, t->name);
		}
	return ERR_OK;
}

static enum err check_together(struct parse *p, cfg_t *cfg, struct conf *c)
{
	if (!is_loopback(c->address) && strncmp(c->public_url, "https://", 8) && !c->allow_plain_http) {
		(void)err_set(ERR_INPUT, "%s is not loopback: put a proxy that speaks TLS in front and set public_url to its https:// "
		    "address, or set allow_plain_http = yes", c->address);
		return at_option(p, cfg, "address", ERR_INPUT);
	}
	if (c->preview_port && c->preview_port == c->port) {
		(void)err_set(ERR_INPUT, "the same as port: previews need a port of their own");
		return at_option(p, cfg, "preview_port", ERR_INPUT);
	}
	if (c->demo_port && (c->demo_port == c->port || c->demo_port == c->preview_port)) {
		(void)err_set(ERR_INPUT, "port %u is in use by another option", c->demo_port);
		return at_option(p, cfg, "demo_port", ERR_INPUT);
	}
	if (c->demo_port && !*c->demo_directory) {
		(void)err_set(ERR_INPUT, "needs demo_directory");
		return at_option(p, cfg, "demo_port", ERR_INPUT);
	}
	if (c->session_idle_us > c->session_absolute_us) {
		(void)err_set(ERR_INPUT, "longer than session_absolute");
		return at_option(p, cfg, "session_idle", ERR_INPUT);
	}
	if (holds_password(c->database_url)) {
		(void)err_set(ERR_INPUT, "holds a password: put it into a file and name that in database_password_file");
		return at_option(p, cfg, "database", ERR_INPUT);
	}
	if (!*c->proxy_user && (*c->proxy_user_header || *c->proxy_groups_header)) {
		(void)err_set(ERR_INPUT, "needs proxy_user: who may say that");
		return at_option(p, cfg, *c->proxy_user_header ? "proxy_user_header" : "proxy_groups_header", ERR_INPUT);
	}
	if (*c->mail_user && !*c->mail_password_file) {
		(void)err_set(ERR_INPUT, "needs mail_password_file");
		return at_option(p, cfg, "mail_user", ERR_INPUT);
	}
	for (size_t i = 0; i < c->n_sites; i++)
		if (c->sites[i].n_mail_to > CONF_MAIL_MOST || c->sites[i].n_webhooks > CONF_WEBHOOK_MOST)
			return err_set(ERR_INPUT, "%s: site %s: at most %d addresses in mail_to, and %d in webhook", p->file, c->sites[i].name, CONF_MAIL_MOST,
			    CONF_WEBHOOK_MOST);
	if (!c->preview_port)
		c->preview_host = "";
	return check_targets(p, c);
}

/* --- directories that may not contain one another ------------------------------------------------------------------- */

/* The real name of a path whose end may not exist yet: of the nearest directory above that exists, and the rest. */
static enum err resolve(const char *path, struct arena *a, const char **out)
{
	char *copy = mem_dup(path), real[PATH_MAX];
	size_t len = strlen(copy);
	enum err e = ERR_OK;

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	while (!realpath(len ? copy : "/", real)) {
		if (errno != ENOENT) {
			e = err_sys(ERR_INPUT, "%s", path);
			goto out;
		}
		while (len && copy[--len] != '/')
			;
		copy[len] = '\0';
	}
	*out = !strcmp(real, "/") ? arena_printf(a, "%s", path[len] ? path + len : "/") : arena_printf(a, "%s%s", real, path + len);
out:
	free(copy);
	return e;
}

static bool contains(const char *outer, const char *inner)
{
	size_t n = strlen(outer);

	if (!strcmp(outer, "/"))
		return true;
	return !strncmp(outer, inner, n) && (inner[n] == '\0' || inner[n] == '/');
}

struct place {
	const char *what, *real;
	bool staging;
	const cfg_t *section;
	const char *option;
};

static enum err check_apart(const struct parse *p, const struct place *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++) {
			const struct place *a = &list[i], *b = &list[j];

			/* Two sites may look at one staging tree. */
			if (a->staging && b->staging)
				continue;
			if (!contains(a->real, b->real) && !contains(b->real, a->real))
				continue;
			(void)err_set(ERR_INPUT, "%s (%s) and %s (%s) may not contain one another", a->what, a->real, b->what, b->real);
			return at_option(p, a->section, a->option, ERR_INPUT);
		}
	return ERR_OK;
}

static enum err check_staging(const char *dir)
{
	struct stat st;

	if (stat(dir, &st)) {
		if (errno == ENOENT)
			return err_set(ERR_INPUT, "%s does not exist: make the directory, mount it, or correct the name", dir);
		return err_sys(ERR_INPUT, "%s", dir);
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(ERR_INPUT, "%s is not a directory", dir);
	if (access(dir, R_OK | X_OK))
		return err_sys(ERR_INPUT, "%s cannot be read by the user that DryDock runs as (uid %u): give him r and x on it, and x above it",
		    dir, (unsigned)geteuid());
	return ERR_OK;
}

static enum err check_directories(struct parse *p, cfg_t *cfg, struct conf *c, struct arena *a)
{
	struct place *list;
	size_t n = 1, room = 1;
	enum err e;

	for (size_t i = 0; i < c->n_sites; i++)
		room += 1 + c->sites[i].n_targets;
	list = arena_alloc(a, room * sizeof(*list));
	list[0] = (struct place){ "the data directory", NULL, false, cfg, "data" };
	e = resolve(c->data, a, &list[0].real);
	if (e)
		return at_option(p, cfg, "data", e);
	c->data = list[0].real;
	for (size_t i = 0; i < c->n_sites; i++) {
		struct conf_site *s = (struct conf_site *)&c->sites[i];
		cfg_t *sec = cfg_getnsec(cfg, "site", (unsigned)i);

		e = check_staging(s->staging);
		if (!e)
			e = resolve(s->staging, a, &s->staging);
		if (e)
			return at_option(p, sec, "staging", e);
		list[n++] = (struct place){ arena_printf(a, "staging of site %s", s->name), s->staging, true, sec, "staging" };
		for (size_t j = 0; j < s->n_targets; j++) {
			cfg_t *tsec = cfg_getnsec(sec, "target", (unsigned)j);
			const struct conf_target *t = &s->targets[j];

			/* Other kits' places are names on other machines. */
			if (t->place[0] != '/')
				continue;
			list[n].what = arena_printf(a, "the place of target %s of site %s", t->name, s->name);
			e = resolve(t->place, a, &list[n].real);
			if (e)
				return at_option(p, tsec, "place", e);
			list[n].section = tsec;
			list[n++].option = "place";
		}
	}
	return check_apart(p, list, n);
}

/* --- the file ------------------------------------------------------------------------------------------------------- */

static enum err check_bytes(const char *file, const struct buf *b)
{
	const char *text = buf_text(b), *end = text + b->len;
	int line = 1;

	for (const char *s = text; s < end; line++) {
		const char *eol = memchr(s, '\n', (size_t)(end - s)), *dollar;
		size_t len = (size_t)((eol ? eol : end) - s);

		if (len && s[len - 1] == '\r')
			len--;
		if (!utf8_clean(s, len, true))
			return err_set(ERR_INPUT, "%s:%d: not valid UTF-8, or with control characters", file, line);
		dollar = memmem(s, len, "${", 2);
		if (dollar && s[strspn(s, " \t")] != '#')
			return err_set(ERR_INPUT, "%s:%d: \"${\" is not possible: nothing is taken from the environment", file, line);
		s = eol ? eol + 1 : end;
	}
	return ERR_OK;
}

/*
 * Comments become blanks before libconfuse sees them: it counts the end of one as a line of its own, so that in a file with
 * comments each error named a line further down. What is a comment and what is text is decided as its scanner does: a '#'
 * wherever no text in quotes is open, two slashes or a slash and a star only where a word could begin.
 */
static enum err blank_comments(const char *file, char *s)
{
	enum { PLAIN, WORD, QUOTED, LINE, BLOCK } in = PLAIN;
	int line = 1, begun = 0;
	char quote = 0;

	for (; *s; s++) {
		line += *s == '\n';
		if (in == LINE || in == BLOCK) {
			const bool end = in == LINE ? *s == '\n' : s[0] == '*' && s[1] == '/';

			if (end && in == BLOCK)
				*s++ = ' ';
			if (*s != '\n')
				*s = ' ';
			in = end ? PLAIN : in;
		} else if (in == QUOTED) {
			if (*s == '\\' && s[1] && s[1] != '\n')
				s++;
			else if (*s == quote)
				in = PLAIN;
		} else if (*s == '#' || (in == PLAIN && s[0] == '/' && (s[1] == '/' || s[1] == '*'))) {
			in = s[0] == '/' && s[1] == '*' ? BLOCK : LINE;
			begun = line;
			if (*s == '/')
				*s++ = ' ';
			*s = ' ';
		} else if (*s == '"' || *s == '\'') {
			in = QUOTED;
			quote = *s;
		} else {
			in = strchr(" \t\r\n={}()+,*", *s) ? PLAIN : WORD;
		}
	}
	return in == BLOCK ? err_set(ERR_INPUT, "%s:%d: this comment has no end", file, begun) : ERR_OK;
}

static enum err build(struct parse *p, cfg_t *cfg, bool look, struct conf **out)
{
	struct arena *a = arena_new();
	struct conf_owned *own = arena_alloc(a, sizeof(*own));
	struct conf *c = &own->c;
	size_t n = cfg_size(cfg, "site");
	struct conf_site *sites = arena_alloc(a, (n + 1) * sizeof(*sites));
	char *slash;
	enum err e;

	own->arena = a;
	c->file = arena_dup(a, p->file);
	e = fill(p, cfg, conf_options, c, a);
	if (e)
		goto out;
	if (!*c->data) {
		char *dir = arena_dup(a, p->file);

		slash = strrchr(dir, '/');
		slash[slash == dir] = '\0';
		c->data = dir;
	}
	for (size_t i = 0; i < n; i++) {
		e = fill_site(p, cfg_getnsec(cfg, "site", (unsigned)i), &sites[i], a);
		if (e)
			goto out;
	}
	c->sites = sites;
	c->n_sites = n;
	e = check_together(p, cfg, c);
	if (!e && look)
		e = check_directories(p, cfg, c, a);
out:
	if (e)
		arena_free(a);
	else
		*out = c;
	return e;
}

static enum err load(struct conf **out, const char *name, bool look)
{
	cfg_opt_t target[16], site[24], root[48];
	struct parse p = { 0 };
	struct buf text = BUF_INIT(FILE_LIMIT);
	char *file = NULL;
	FILE *in = NULL;
	cfg_t *cfg = NULL;
	size_t n;
	enum err e;

	file = realpath(name, NULL);
	if (!file)
		return err_sys(ERR_INPUT, "The configuration file %s cannot be opened", name);
	p.file = file;
	e = file_read(AT_FDCWD, file, &text);
	if (e) {
		e = err_prefix(ERR_INPUT, "The configuration file %s cannot be read", file);
		goto out;
	}
	e = check_bytes(file, &text);
	if (!e && text.len)
		e = blank_comments(file, text.p);
	if (e)
		goto out;

	n = option_rows(target, conf_target_options);
	target[n] = (cfg_opt_t)CFG_END();
	n = option_rows(site, conf_site_options);
	site[n] = (cfg_opt_t)CFG_SEC("target", target, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	site[n++].validcb = on_section;
	site[n] = (cfg_opt_t)CFG_END();
	n = option_rows(root, conf_options);
	root[n] = (cfg_opt_t)CFG_SEC("site", site, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	root[n++].validcb = on_section;
	root[n] = (cfg_opt_t)CFG_END();

	now = &p;
	cfg = cfg_init(root, CFGF_NONE);
	if (!cfg) {
		e = err_sys(ERR_FAILED, "The configuration cannot be parsed");
		goto out;
	}
	(void)cfg_set_error_function(cfg, on_error);
	cfg->line = 1;
	mark(&p, cfg, NULL, 1);
	/* fmemopen refuses an empty buffer. */
	in = fmemopen(text.len ? text.p : (char[]){ "\n" }, text.len ? text.len : 1, "r");
	if (!in) {
		e = err_sys(ERR_FAILED, "The configuration cannot be parsed");
		goto out;
	}
	if (cfg_parse_fp(cfg, in) != CFG_SUCCESS) {
		if (!p.failed)
			(void)err_set(ERR_INPUT, "%s:%d: cannot be understood", file, cfg->line);
		e = ERR_INPUT;
		goto out;
	}
	e = build(&p, cfg, look, out);
out:
	now = NULL;
	if (in)
		(void)fclose(in);
	if (cfg)
		(void)cfg_free(cfg);
	free(p.marks);
	buf_release(&text);
	free(file);
	return e;
}

enum err conf_load(struct conf **out, const char *file)
{
	return load(out, file, true);
}

enum err conf_load_unchecked(struct conf **out, const char *file)
{
	return load(out, file, false);
}

void conf_free(struct conf *c)
{
	if (c)
		arena_free(((struct conf_owned *)c)->arena);
}

const struct conf_site *conf_site(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_sites; i++)
		if (!strcmp(c->sites[i].name, name))
			return &c->sites[i];
	return NULL;
}

/* From where the program is: the build tree has both sides of its own, an installation may have been moved. */
static void find_dir(char out[PATH_MAX], const char *built, const char *beside, const char *configured)
{
	char exe[PATH_MAX], real[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	snprintf(out, PATH_MAX, "%s", configured);
	if (n <= 0)
		return;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	if (!slash)
		return;
	*slash = '\0';
	if (contains(DRYDOCK_BUILDDIR, exe)) {
		snprintf(out, PATH_MAX, "%s", built);
		return;
	}
	if (strlen(exe) + strlen(beside) < sizeof(exe)) {
		strncat(exe, beside, sizeof(exe) - strlen(exe) - 1);
		if (realpath(exe, real))
			snprintf(out, PATH_MAX, "%s", real);
	}
}

/* Kits of several targets are looked for at the same time. */
static char share_dir[PATH_MAX], libexec_dir[PATH_MAX];

static void find_dirs(void)
{
	find_dir(share_dir, DRYDOCK_SRCDIR, "/../share/drydock", DRYDOCK_DATADIR);
	find_dir(libexec_dir, DRYDOCK_BUILDDIR "/sync-scripts", "/../libexec/drydock", DRYDOCK_LIBEXECDIR);
}

static pthread_once_t dirs_found = PTHREAD_ONCE_INIT;

const char *conf_share_dir(void)
{
	(void)pthread_once(&dirs_found, find_dirs);
	return share_dir;
}

const char *conf_libexec_dir(void)
{
	(void)pthread_once(&dirs_found, find_dirs);
	return libexec_dir;
}
