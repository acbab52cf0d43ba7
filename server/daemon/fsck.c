/* drydockd fsck: every site of a data directory checked, and the directory itself. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acts/turn.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "check/check.h"
#include "ctl/ctl.h"
#include "daemon/datadir.h"
#include "daemon/internal.h"

enum { FSCK_CLEAN, FSCK_REPAIRED, FSCK_DAMAGE, FSCK_UNCHECKED };

#define OUTPUT_LIMIT ((size_t)64 << 20)

/* --- printing ---------------------------------------------------------------------------------------------------------- */

struct printing {
	bool json;
	struct buf items; /* of JSON */
	struct json_out out;
	struct check_result all;
};

static void print_finding(void *arg, const struct check_finding *f)
{
	struct printing *p = arg;

	if (!p->json) {
		printf("%s%s%s: %s: %s%s\n", f->site, *f->site ? ": " : "", finding_name(f->id), f->subject, f->what, f->repaired ? " [repaired]" : "");
		if (!f->repaired)
			printf("    %s\n", finding_repair(f->id));
		return;
	}
	json_out_begin(&p->out, '{');
	json_out_kstr(&p->out, "name", finding_name(f->id));
	json_out_kstr(&p->out, "site", *f->site ? f->site : NULL);
	json_out_kstr(&p->out, "subject", f->subject);
	json_out_kstr(&p->out, "what", f->what);
	json_out_kstr(&p->out, "repair", finding_repair(f->id));
	json_out_kbool(&p->out, "repaired", f->repaired);
	json_out_end(&p->out, '}');
}

static void add_up(struct check_result *all, const struct check_result *one)
{
	all->records += one->records;
	all->files += one->files;
	all->versions += one->versions;
	all->findings += one->findings;
	all->repaired += one->repaired;
}

static void print_end(struct printing *p)
{
	const struct check_result *r = &p->all;

	if (!p->json) {
		printf("%llu record%s, %llu approved file%s, %llu version%s: ", (unsigned long long)r->records, r->records == 1 ? "" : "s",
		    (unsigned long long)r->files, r->files == 1 ? "" : "s", (unsigned long long)r->versions, r->versions == 1 ? "" : "s");
		if (!r->findings)
			puts("nothing is wrong.");
		else
			printf("%llu found, %llu repaired.\n", (unsigned long long)r->findings, (unsigned long long)r->repaired);
		return;
	}
	json_out_end(&p->out, ']');
	json_out_kint(&p->out, "records", (int64_t)r->records);
	json_out_kint(&p->out, "files", (int64_t)r->files);
	json_out_kint(&p->out, "versions", (int64_t)r->versions);
	json_out_kint(&p->out, "findings", (int64_t)r->findings);
	json_out_kint(&p->out, "repaired", (int64_t)r->repaired);
	json_out_end(&p->out, '}');
	buf_char(&p->items, '\n');
	if (!buf_check(&p->items))
		(void)fwrite(p->items.p, 1, p->items.len, stdout);
}

/* --- sites ------------------------------------------------------------------------------------------------------------- */

/* Every site that has a repository here, configured or not; NULL at the end. The caller frees. */
char **datadir_sites(const char *data)
{
	char *sites = mem_printf("%s/sites", data), **list = mem_array(1, sizeof(*list));
	DIR *d = opendir(sites);
	struct dirent *entry;
	size_t n = 0, cap = 1;

	while (d && (entry = readdir(d))) {
		char *repo = mem_printf("%s/%s/repo.git", sites, entry->d_name);
		struct stat st;

		if (site_name_valid(entry->d_name) && stat(repo, &st) == 0) {
			list = mem_grow(list, &cap, n + 2, sizeof(*list));
			list[n++] = mem_dup(entry->d_name);
			list[n] = NULL;
		}
		free(repo);
	}
	if (d)
		closedir(d);
	free(sites);
	return list;
}

enum err place_open_site(struct check_place *p, struct installation *in, const char *name, struct db *db)
{
	const struct conf_site *conf = conf_site(in->conf, name);
	char *export;
	struct stat st;
	enum err e = ERR_OK;

	*p = (struct check_place){ .name = name, .key = in->key, .db = db, .release_keep = conf ? conf->release_keep : 0, .grants = in->private != NULL };
	p->dir = mem_printf("%s/sites/%s", in->conf->data, name);
	p->repo_dir = mem_printf("%s/repo.git", p->dir);
	export = mem_printf("%s/export", p->dir);
	p->export_missing = strcmp(name, "installation") != 0 && stat(export, &st);
	if (strcmp(name, "installation") != 0 && !p->export_missing)
		e = export_open(&p->export, p->dir);
	free(export);
	return e;
}

void place_close_site(struct check_place *p)
{
	export_close(p->export);
	free((char *)p->dir);
	free((char *)p->repo_dir);
	memset(p, 0, sizeof(*p));
}

static enum err fsck_site(struct installation *in, const char *name, struct db *db, const struct check_options *co, struct printing *p)
{
	struct check_place place;
	struct check_result r = { 0 };
	enum err e = place_open_site(&place, in, name, db);

	if (!e)
		e = check_site(&place, co, &r);
	place_close_site(&place);
	add_up(&p->all, &r);
	return e ? err_prefix(e, "%s", name) : ERR_OK;
}

static enum err fsck_all(struct installation *in, const struct fsck_options *o, struct printing *p)
{
	const struct check_options co = { .deep = o->deep, .repair = o->repair, .found = print_finding, .arg = p };
	char **sites = datadir_sites(in->conf->data);
	struct check_result r = { 0 };
	struct db *db = NULL;
	bool any = false;
	enum err e = db_open(&db, &in->program);

	if (!e && !o->site) {
		e = check_data(in->conf->data, &co, &r);
		add_up(&p->all, &r);
	}
	if (!e && !o->site)
		e = fsck_site(in, "installation", db, &co, p);
	for (size_t i = 0; sites[i]; i++) {
		if (!e && (!o->site || strcmp(o->site, sites[i]) == 0)) {
			any = true;
			e = fsck_site(in, sites[i], db, &co, p);
		}
		free(sites[i]);
	}
	free(sites);
	if (!e && o->site && !any)
		e = err_set(ERR_NOT_FOUND, "there is no site %s in %s", o->site, in->conf->data);
	if (db)
		db_close(db);
	return e;
}

/* --- a server runs: it checks itself, and is asked over its socket, as whoever runs this ------------------------------- */

static enum err ask_server(struct ctl *c, const char *method, const char *target, const char *body, json_t **out)
{
	json_t *v = NULL;
	bool broken = false;
	enum err e;

	*out = NULL;
	if (transport_socket.call(c, method, target, body, body ? strlen(body) : 0) != EXIT_DONE)
		return err_set(ERR_BUSY, "the server that runs on this data directory does not answer at %s", c->place);
	e = json_parse(&v, buf_text(&c->answer), c->answer.len);
	if (e)
		return err_prefix(e, "the server's answer to %s", target);
	if (c->status >= 200 && c->status < 300) {
		*out = v;
		return ERR_OK;
	}
	if (c->status == 503)
		e = err_set(ERR_BUSY, "the server that runs on this data directory says: %s", json_get_str(v, "detail", &broken) ? json_get_str(v, "detail", &broken) : "not now.");
	else
		e = err_set(ERR_DENIED, "the server that runs on this data directory says: %s Checks are for admins; without one, stop the server first.",
	    json_get_str(v, "detail", &broken) ? json_get_str(v, "detail", &broken) : "no.");
	json_decref(v);
	return e;
}

static const char *text_or(const json_t *v, const char *name, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(v, name));

	return s ? s : otherwise;
}

static void print_answer(struct printing *p, const char *site, const json_t *report)
{
	json_t *items = json_object_get(report, "items"), *item;
	size_t i;

	json_array_foreach(items, i, item) {
		for (int id = 0; id < FINDING_COUNT; id++) {
			const struct check_finding f = { .id = (enum finding_id)id, .site = site, .subject = text_or(item, "subject", ""),
				.what = text_or(item, "what", ""), .repaired = json_is_true(json_object_get(item, "repaired")) };

			if (strcmp(finding_name(f.id), text_or(item, "name", "")) == 0)
				print_finding(p, &f);
		}
	}
	add_up(&p->all, &(struct check_result){ .records = (uint64_t)json_integer_value(json_object_get(report, "records")),
	    .files = (uint64_t)json_integer_value(json_object_get(report, "files")), .versions = (uint64_t)json_integer_value(json_object_get(report, "versions")),
	    .findings = (uint64_t)json_integer_value(json_object_get(report, "findings")), .repaired = (uint64_t)json_integer_value(json_object_get(report, "repaired")) });
}

static enum err fsck_server_place(struct ctl *c, const char *site, const char *target, const struct fsck_options *o, struct printing *p)
{
	char *body = mem_printf("{\"deep\":%s,\"repair\":%s}", o->deep ? "true" : "false", o->repair ? "true" : "false");
	json_t *v = NULL;
	json_int_t number = 0, done = 0;
	enum err e = ask_server(c, "POST", target, body, &v);

	free(body);
	if (!e)
		number = json_integer_value(json_object_get(v, "check"));
	while (!e && done < number) {
		json_decref(v);
		e = ask_server(c, "GET", target, NULL, &v);
		done = e ? 0 : json_integer_value(json_object_get(v, "check"));
		if (!e && done < number)
			clock_sleep(CLOCK_SECOND / 50);
	}
	if (!e && strcmp(text_or(v, "state", ""), "unchecked") == 0)
		e = err_set(ERR_FAILED, "%s: %s", site, text_or(v, "message", "it could not be checked"));
	if (!e)
		print_answer(p, site, v);
	json_decref(v);
	return e;
}

/* With sudo it is the person who called it that asks: root has no role of its own. */
static enum err ask_as_caller(void)
{
	const char *caller = getenv("SUDO_USER");

	return geteuid() == 0 && caller && strcmp(caller, "root") != 0 ? daemon_become(caller) : ERR_OK;
}

static enum err fsck_server(const struct conf *conf, const struct fsck_options *o, struct printing *p)
{
	struct ctl c = { .place = mem_printf("%s/" DATADIR_SOCKET, conf->data), .arena = arena_new(), .answer = BUF_INIT(OUTPUT_LIMIT), .sink = -1 };
	bool any = o->site == NULL;
	enum err e = ask_as_caller();

	if (!e && any)
		e = fsck_server_place(&c, "installation", "/check", o, p);
	for (size_t i = 0; i < conf->n_sites && !e; i++) {
		const char *name = conf->sites[i].name;

		if (o->site && strcmp(o->site, name) != 0)
			continue;
		any = true;
		e = fsck_server_place(&c, name, arena_printf(c.arena, "/sites/%s/check", name), o, p);
	}
	if (!e && !any)
		e = err_set(ERR_NOT_FOUND, "there is no site %s in %s", o->site, conf->file);
	buf_release(&c.answer);
	arena_free(c.arena);
	free((char *)c.place);
	return e;
}

/* What was found, where only the end of it counts. */
static void print_why(void *arg, const struct check_finding *f)
{
	(void)arg;
	fprintf(stderr, "drydockd: %s: %s: %s: %s\n    %s\n", f->site, finding_name(f->id), f->subject, f->what, finding_repair(f->id));
}

/* The lock of the data directory says nothing of servers with another one. */
static enum err need_nobody_else(const struct installation *in)
{
	struct turns *turns = NULL;
	struct db *db = NULL;
	enum err e = turns_new(&turns, in->lock, in->private != NULL);

	if (!e)
		e = db_open(&db, &in->program);
	if (!e)
		e = turns_nobody_else(turns, db);
	if (db)
		db_close(db);
	turns_free(turns);
	return e;
}

static enum err rebuild_one(struct installation *in, const char *name, struct db *db, bool replace)
{
	const struct check_options co = { .found = print_why };
	struct check_place place;
	struct check_result r = { 0 };
	enum err e = place_open_site(&place, in, name, db);

	if (!e)
		e = rebuild_site(&place, replace, &co, &r);
	place_close_site(&place);
	if (!e)
		printf("%s: made again from %llu record%s.\n", name, (unsigned long long)r.records, r.records == 1 ? "" : "s");
	return e;
}

enum err daemon_rebuild(const struct conf *conf, bool replace)
{
	struct installation *in = NULL;
	struct db *db = NULL;
	char **sites;
	enum err e = installation_open_stores(&in, conf, true);

	if (e)
		return e;
	e = need_nobody_else(in);
	if (!e)
		e = db_open(&db, &in->owner);
	if (!e && in->private)
		private_db_roomy(db);
	if (!e)
		e = rebuild_one(in, "installation", db, replace);
	sites = datadir_sites(conf->data);
	for (size_t i = 0; sites[i]; i++) {
		if (!e)
			e = rebuild_one(in, sites[i], db, replace);
		free(sites[i]);
	}
	free(sites);
	if (!e && !replace)
		puts("Passwords, tokens and sessions are in no log: set passwords with `drydockd admin own:NAME`, make tokens anew.");
	if (db)
		db_close(db);
	return installation_close_after(in, e);
}

enum err daemon_fsck(const struct conf *conf, const struct fsck_options *o, int *status)
{
	struct printing p = { .json = o->json, .items = BUF_INIT(OUTPUT_LIMIT) };
	struct installation *in = NULL;
	bool running;
	enum err e;

	*status = FSCK_UNCHECKED;
	running = datadir_in_use(conf->data);
	if (!running) {
		if (geteuid() == 0)
			return err_set(ERR_BUSY, "the server that ran on %s has ended just now: call this once more", conf->data);
		e = installation_open_stores(&in, conf, false);
		running = e == ERR_BUSY && datadir_in_use(conf->data);
		/* Even a look would take what another server is about for a fault. */
		if (!e)
			e = need_nobody_else(in);
		if (e && !running)
			return installation_close_after(in, e);
	}
	p.out.b = &p.items;
	if (o->json) {
		json_out_begin(&p.out, '{');
		json_out_name(&p.out, "items");
		json_out_begin(&p.out, '[');
	}
	e = running ? fsck_server(conf, o, &p) : fsck_all(in, o, &p);
	if (!e) {
		print_end(&p);
		*status = !p.all.findings ? FSCK_CLEAN : p.all.repaired >= p.all.findings ? FSCK_REPAIRED : FSCK_DAMAGE;
	}
	buf_release(&p.items);
	return installation_close_after(in, e);
}
