/*
 * rights: who may change whose rights, tried from below: delegated admins, accounts and groups, the last admin; and the
 * limits of sessions. Each refusal is compared with the rights before and after.
 */
#include "acts_world.h"

static struct world w;

static int begin(void **state)
{
	(void)state;
	world_new(&w);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_free(&w);
	return 0;
}

static enum err set_rule(struct person *who, const char *principal, const char *path, int role)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;

	return act_rule(w.s, w.t, w.auth, &rq, principal, path_of(path), role, &a);
}

static enum err put_account(struct person *who, const char *name, const char *password, bool enabled)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;

	return act_account_put(w.installation, w.t, &rq, name, password, NULL, enabled, &a);
}

static enum err set_group(struct person *who, const char *group, bool remove)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;

	return act_group(w.installation, w.t, &rq, group, remove, &a);
}

static enum err set_member(struct person *who, const char *group, const char *principal, bool remove)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;

	return act_membership(w.installation, w.t, &rq, group, principal, remove, &a);
}

/* As he is now: groups are what they were when he was asked for. */
static struct person *again(struct person *who)
{
	char *user = mem_dup(who->who.user);
	struct person *p;

	person_unref(who);
	assert_ok(auth_person(w.auth, tools_db(w.t), user, &p, NULL));
	free(user);
	return p;
}

static enum role role_of(const char *principal, const char *path)
{
	struct rules *rules = site_rules(w.s);
	struct person *p;
	enum role role;

	assert_ok(auth_person(w.auth, tools_db(w.t), principal, &p, NULL));
	role = role_on(rules, &p->who, path_of(path));
	person_unref(p);
	rules_unref(rules);
	return role;
}

/* --- an admin of /docs ---------------------------------------------------------------------------------------------- */

static void delegated(void **state)
{
	/* editor is admin of /docs; boss is admin of "/" through a group, viewer by a rule of his own. */
	static const struct {
		const char *what, *principal, *path;
		int role;
	} refused[] = {
		{ "above his path", "own:stranger", "/", ROLE_VIEW },
		{ "beside it, with the same beginning", "own:stranger", "/docs2", ROLE_VIEW },
		{ "beside it, with a dash", "own:stranger", "/docs-x", ROLE_VIEW },
		{ "himself, above", "own:editor", "/", ROLE_ADMIN },
		{ "a none for an admin above", "own:viewer", "/docs", ROLE_NONE },
		{ "below his path too", "own:viewer", "/docs/deep/er", ROLE_NONE },
		{ "where there is no such file", "own:viewer", "/docs/never-there", ROLE_VIEW },
		{ "to sign instead of admin", "own:viewer", "/docs", ROLE_SIGN },
		{ "a member of the admins' group, by a rule of his own", "own:reviewer", "/docs", ROLE_NONE },
		{ "the group itself", "own:@boss", "/docs", ROLE_NONE },
		{ "the group itself, lowered", "own:@boss", "/docs/a", ROLE_REVIEW },
		{ "the first admin", "own:admin", "/docs", ROLE_VIEW },
	};
	struct person *sub = person_ref(w.editor);

	(void)state;
	assert_ok(set_group(w.admin, "boss", false));
	assert_ok(set_rule(w.admin, "own:@boss", "/", ROLE_ADMIN));
	assert_ok(set_member(w.admin, "boss", "own:reviewer", false));
	assert_ok(set_rule(w.admin, "own:reviewer", "/", -1)); /* what he has, he has from the group */
	assert_ok(set_rule(w.admin, "own:viewer", "/", ROLE_ADMIN));
	assert_ok(set_rule(w.admin, "own:editor", "/", -1));
	assert_ok(set_rule(w.admin, "own:editor", "/docs", ROLE_ADMIN));
	for (size_t i = 0; i < COUNT(refused); i++) {
		uint64_t seq = head_seq(&w, w.s);
		enum err e = set_rule(sub, refused[i].principal, refused[i].path, refused[i].role);

		/* What he does not see is not there for him; the rest he is refused. */
		if (e != ERR_DENIED && e != ERR_NOT_FOUND)
			fail_msg("%s: %s", refused[i].what, err_name(e));
		assert_int_equal(head_seq(&w, w.s), seq);
	}
	/* What is his to give. */
	assert_ok(set_rule(sub, "own:stranger", "/docs", ROLE_ADMIN));
	assert_ok(set_rule(sub, "own:stranger", "/docs", ROLE_NONE));
	assert_ok(set_rule(sub, "own:stranger", "/docs", -1));
	/* He cannot first give an admin above a rule that is his to take, and then take both away. */
	assert_ok(set_rule(sub, "own:viewer", "/docs", ROLE_ADMIN));
	assert_int_equal(role_of("own:viewer", "/docs"), ROLE_ADMIN);
	assert_ok(set_rule(sub, "own:viewer", "/docs", -1)); /* from above again */
	assert_int_equal(role_of("own:viewer", "/docs"), ROLE_ADMIN);
	person_unref(sub);
	check_all(&w);
}

/* A rule of his own hides a group's; the way round by two steps. */
static void two_steps(void **state)
{
	(void)state;
	assert_ok(set_rule(w.admin, "own:viewer", "/", ROLE_ADMIN));
	assert_ok(set_rule(w.admin, "own:editor", "/", -1));
	assert_ok(set_rule(w.admin, "own:editor", "/docs", ROLE_ADMIN));
	/* editor makes viewer admin at /docs by a rule that stands at his own path ... */
	assert_ok(set_rule(w.editor, "own:viewer", "/docs", ROLE_ADMIN));
	/* ... and lowers that rule: viewer had admin from "/" before, and must have it still. */
	assert_err(ERR_DENIED, set_rule(w.editor, "own:viewer", "/docs", ROLE_NONE));
	assert_int_equal(role_of("own:viewer", "/docs"), ROLE_ADMIN);
	/* The same with a group's rule standing between. */
	assert_ok(set_group(w.admin, "chief", false));
	assert_ok(set_rule(w.admin, "own:@chief", "/", ROLE_ADMIN));
	assert_ok(set_member(w.admin, "chief", "own:reviewer", false));
	assert_ok(set_rule(w.admin, "own:reviewer", "/", -1));
	assert_ok(set_rule(w.editor, "own:@chief", "/docs", ROLE_ADMIN));
	assert_err(ERR_DENIED, set_rule(w.editor, "own:@chief", "/docs", ROLE_VIEW));
	assert_ok(set_rule(w.editor, "own:reviewer", "/docs/x", ROLE_ADMIN));
	assert_err(ERR_DENIED, set_rule(w.editor, "own:reviewer", "/docs/x", ROLE_NONE));
	assert_int_equal(role_of("own:reviewer", "/docs/x"), ROLE_ADMIN);
}

/* --- the last admin ------------------------------------------------------------------------------------------------- */

static void last_admin(void **state)
{
	struct act_answer a;

	(void)state;
	/* @top is the only way to be admin on "/": a member, the group, its rule and the account are each the last. */
	assert_ok(set_group(w.admin, "top", false));
	assert_ok(set_member(w.admin, "top", "own:viewer", false));
	assert_ok(set_rule(w.admin, "own:@top", "/", ROLE_ADMIN));
	w.viewer = again(w.viewer);
	assert_ok(set_rule(w.admin, "own:viewer", "/", -1));
	assert_ok(set_rule(w.viewer, "own:admin", "/", -1));
	assert_int_equal(role_of("own:viewer", "/"), ROLE_ADMIN);
	assert_err(ERR_DENIED, set_rule(w.viewer, "own:@top", "/", -1));
	assert_err(ERR_DENIED, set_rule(w.viewer, "own:@top", "/", ROLE_SIGN));
	assert_err(ERR_DENIED, set_rule(w.viewer, "own:viewer", "/", ROLE_SIGN));
	assert_err(ERR_DENIED, set_member(w.viewer, "top", "own:viewer", true));
	assert_err(ERR_DENIED, set_group(w.viewer, "top", true));
	assert_err(ERR_DENIED, put_account(w.viewer, "viewer", NULL, false));
	/* A second one who is switched off is none. */
	assert_ok(set_member(w.viewer, "top", "own:stranger", false));
	assert_ok(put_account(w.viewer, "stranger", NULL, false));
	assert_err(ERR_DENIED, set_member(w.viewer, "top", "own:viewer", true));
	assert_err(ERR_DENIED, set_rule(w.viewer, "own:viewer", "/", ROLE_NONE));
	/* A member who has a rule of his own that says less is none either. */
	assert_ok(put_account(w.viewer, "stranger", NULL, true));
	assert_ok(set_rule(w.viewer, "own:stranger", "/", ROLE_REVIEW));
	assert_err(ERR_DENIED, set_member(w.viewer, "top", "own:viewer", true));
	/* One who is: then it may be. */
	assert_ok(set_rule(w.viewer, "own:stranger", "/", -1));
	assert_ok(set_member(w.viewer, "top", "own:viewer", true));
	assert_int_equal(role_of("own:stranger", "/"), ROLE_ADMIN);
	assert_ok(act_admin_offline(w.s, w.t, "own:admin", &a));
	check_all(&w);
}

/* --- accounts and groups: nobody takes over what he could not give --------------------------------------------------- */

static struct site *other; /* a second site, of which w.admin is nothing */
static struct conf_site other_conf;

static void other_begin(void)
{
	struct act_answer a;

	other_conf = w.site_conf;
	other_conf.name = mem_printf("%s-hidden", w.site_conf.name);
	other_conf.staging = mem_printf("%s/staging2", w.dir);
	assert_ok(file_mkdirs(other_conf.staging, 0755));
	assert_ok(site_open(&other, &w.conf, &other_conf, w.key, NULL, w.t));
	assert_ok(act_admin_offline(other, w.t, "own:reviewer", &a));
}

static void other_end(void)
{
	site_close(other);
	free((char *)other_conf.name);
	free((char *)other_conf.staging);
	other = NULL;
}

static enum err other_rule(const char *principal, const char *path, int role)
{
	struct act_request rq = request_of(w.reviewer, "");
	struct act_answer a;

	return act_rule(other, w.t, w.auth, &rq, principal, path_of(path), role, &a);
}

static void take_over(void **state)
{
	struct person *p;

	(void)state;
	other_begin();
	assert_ok(set_group(w.admin, "over", false));
	assert_ok(other_rule("own:viewer", "/news", ROLE_VIEW));
	assert_ok(other_rule("own:@over", "/news", ROLE_SIGN));
	/* the account: neither its password nor whether it is enabled */
	assert_err(ERR_DENIED, put_account(w.admin, "viewer", "mine is better", true));
	assert_null(strstr(err_text(), "hidden")); /* a site that he does not see has no name for him */
	assert_err(ERR_DENIED, put_account(w.admin, "viewer", NULL, false));
	/* the group: neither a new member, nor one less, nor its end, nor its name after its end */
	assert_err(ERR_DENIED, set_member(w.admin, "over", "own:admin", false));
	assert_null(strstr(err_text(), "hidden"));
	assert_err(ERR_DENIED, set_group(w.admin, "over", true));
	/* through a group that has a role there, a member is not his to take over either */
	assert_ok(set_member(w.reviewer, "over", "own:stranger", false));
	assert_err(ERR_DENIED, put_account(w.admin, "stranger", "mine is better", true));
	assert_err(ERR_DENIED, set_member(w.admin, "over", "own:stranger", true));
	assert_ok(auth_login(w.auth, tools_db(w.t), "stranger", "a long password", "192.0.2.1", &p));
	person_unref(p);
	/* an account that does not exist, but whose name has a rule that waits for it */
	assert_ok(other_rule("own:tomorrow", "/", ROLE_ADMIN));
	assert_err(ERR_DENIED, put_account(w.admin, "tomorrow", "mine is better", true));
	assert_ok(other_rule("own:@later", "/", ROLE_ADMIN));
	assert_err(ERR_DENIED, set_group(w.admin, "later", false));
	/* who is admin wherever it has a role may */
	assert_ok(put_account(w.reviewer, "tomorrow", "a long password", true));
	other_end();
}

/* --- what a signature needs beside the role --------------------------------------------------------------------------- */

static enum err require(struct person *who, const char *path, unsigned reviews, bool not_alone)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;
	const struct requirement q = { path_of(path), reviews, not_alone };

	return act_require(w.s, w.t, &rq, &q, &a);
}

static enum err act_on(struct person *who, const char *act, const char *path)
{
	struct act_answer a;

	return act_now(&w, who, act, path, false, &a);
}

static void who_requires(void **state)
{
	struct db_record_row row;
	struct arena *a = arena_new();

	(void)state;
	assert_ok(set_rule(w.admin, "own:viewer", "/docs", ROLE_ADMIN));
	assert_err(ERR_DENIED, require(w.editor, "/docs", 1, false));
	assert_err(ERR_NOT_FOUND, require(w.stranger, "/docs", 1, false));
	assert_err(ERR_DENIED, require(w.viewer, "/", 1, false));
	assert_err(ERR_INPUT, require(w.admin, "/docs", 10, false));
	assert_err(ERR_NOT_FOUND, require(w.admin, "/docs", 0, false));
	assert_ok(require(w.viewer, "/docs", 1, false));
	/* More is his to ask for, less is not: it binds him. */
	assert_ok(require(w.viewer, "/docs", 2, true));
	assert_err(ERR_DENIED, require(w.viewer, "/docs", 1, true));
	assert_err(ERR_DENIED, require(w.viewer, "/docs", 2, false));
	assert_err(ERR_DENIED, require(w.viewer, "/docs", 0, false));
	/* Below his path it is. */
	assert_ok(require(w.viewer, "/docs/a", 3, false));
	assert_ok(require(w.viewer, "/docs/a", 0, false));
	assert_ok(require(w.admin, "/docs", 1, true));
	/* Old and new value are in the record, both are in the rule set, and both survive a restart. */
	assert_ok(db_record_get(tools_db(w.t), w.s->name, node_key_id(w.key), head_seq(&w, w.s), &row, a));
	assert_non_null(strstr(row.body, "\"before_not_alone\":true,\"before_reviews\":2,\"not_alone\":true,\"path\":\"/docs\","));
	assert_non_null(strstr(row.body, "\"reviews\":1"));
	world_close(&w);
	world_open(&w);
	struct rules *rules = site_rules(w.s);
	assert_int_equal(rules_requirements(rules), 1);
	assert_int_equal(rules_required(rules, path_of("/docs/a/b")).reviews, 1);
	assert_true(rules_required(rules, path_of("/docs/a/b")).not_alone);
	assert_int_equal(rules_required(rules, path_of("/docs2")).reviews, 0);
	/* and the log's list of rules is read back as the same */
	char *text = run((const char *const[]){ "git", "-c", "safe.directory=*", "-C", w.s->repo_dir, "show",
	    arena_printf(a, "refs/drydock/log/%s:rules", node_key_id(w.key)), NULL });
	struct rules *decoded;
	assert_ok(rules_decode(&decoded, arena_printf(a, "%s\n", text), strlen(text) + 1));
	struct buf now = BUF_INIT(4096), then = BUF_INIT(4096);
	rules_encode(rules, &now);
	rules_encode(decoded, &then);
	assert_string_equal(buf_text(&now), buf_text(&then));
	buf_release(&now);
	buf_release(&then);
	free(text);
	rules_unref(decoded);
	rules_unref(rules);
	arena_free(a);
	check_all(&w);
}

static void reviews_needed(void **state)
{
	struct db_record_row row;
	struct act_answer done;
	struct arena *a = arena_new();

	(void)state;
	put(&w, "/docs/a.html", "one");
	put(&w, "/docs/b.html", "two");
	put(&w, "/free.html", "free");
	assert_ok(require(w.admin, "/docs", 2, false));
	assert_ok(set_rule(w.admin, "own:viewer", "/", ROLE_REVIEW));
	assert_ok(act_on(w.editor, "sign", "/free.html"));
	assert_err(ERR_DENIED, act_on(w.editor, "sign", "/docs/a.html"));
	assert_non_null(strstr(err_text(), "needs 2 reviews of this version by others, has 0"));
	/* His own does not count; the same person twice counts once; other bytes do not count. */
	assert_ok(act_on(w.editor, "review", "/docs/a.html"));
	assert_ok(act_on(w.reviewer, "review", "/docs/a.html"));
	assert_err(ERR_DENIED, act_on(w.editor, "sign", "/docs/a.html"));
	assert_non_null(strstr(err_text(), "has 1: by own:reviewer"));
	assert_ok(act_on(w.reviewer, "review", "/docs/a.html"));
	assert_err(ERR_DENIED, act_on(w.editor, "sign", "/docs/a.html"));
	assert_ok(act_on(w.viewer, "review", "/docs/a.html"));
	put(&w, "/docs/a.html", "one, changed after the reviews");
	assert_err(ERR_DENIED, act_on(w.editor, "sign", "/docs/a.html"));
	assert_non_null(strstr(err_text(), "has 0"));
	/* Back to what was reviewed: the reviews are of these bytes. */
	put(&w, "/docs/a.html", "one");
	/* One file of a batch that lacks something stops the batch, and is named. */
	assert_err(ERR_DENIED, act_now(&w, w.editor, "sign", "/docs", true, &done));
	assert_non_null(strstr(err_text(), "/docs/b.html"));
	assert_false(is_exported(&w, "/docs/a.html"));
	assert_ok(act_on(w.editor, "sign", "/docs/a.html"));
	assert_ok(db_record_get(tools_db(w.t), w.s->name, node_key_id(w.key), head_seq(&w, w.s), &row, a));
	assert_non_null(strstr(row.body, "\"required_reviews\":2,\"reviewed_by\":[\"own:reviewer\",\"own:viewer\"]"));
	/* An admin is bound by it too; the strictest of what stands above counts. */
	assert_ok(require(w.admin, "/docs/deep", 1, false));
	put(&w, "/docs/deep/c.html", "three");
	assert_ok(act_on(w.reviewer, "review", "/docs/deep/c.html"));
	assert_err(ERR_DENIED, act_on(w.admin, "sign", "/docs/deep/c.html"));
	/* Taking back needs no reviews. */
	assert_ok(act_on(w.editor, "revoke", "/docs/a.html"));
	arena_free(a);
	check_all(&w);
}

static void owner_alone(void **state)
{
	struct person *unix_signer;

	(void)state;
	put(&w, "/docs/a.html", "mine");
	put(&w, "/docs/b.html", "mine too");
	assert_ok(require(w.admin, "/docs", 0, true));
	/* Of an own account it is not known which UNIX user it is: somebody else has to have looked. */
	assert_err(ERR_DENIED, act_on(w.editor, "sign", "/docs/a.html"));
	assert_non_null(strstr(err_text(), "may not sign it alone"));
	assert_ok(act_on(w.reviewer, "review", "/docs/a.html"));
	assert_ok(act_on(w.editor, "sign", "/docs/a.html"));
	/* The UNIX user whose file it is, and another one. */
	assert_ok(auth_unix_peer(w.auth, tools_db(w.t), geteuid(), &unix_signer));
	assert_ok(set_rule(w.admin, unix_signer->who.user, "/", ROLE_SIGN));
	assert_err(ERR_DENIED, act_on(unix_signer, "sign", "/docs/b.html"));
	person_unref(unix_signer);
	assert_ok(auth_unix_peer(w.auth, tools_db(w.t), geteuid() ? 0 : 1, &unix_signer));
	assert_ok(set_rule(w.admin, unix_signer->who.user, "/", ROLE_SIGN));
	assert_ok(act_on(unix_signer, "sign", "/docs/b.html"));
	person_unref(unix_signer);
	check_all(&w);
}

static void preapproved_needs(void **state)
{
	struct act_request rq;
	struct act_answer a;
	uint64_t n;

	(void)state;
	put(&w, "/feed/x.xml", "x");
	put(&w, "/docs/a.html", "a");
	assert_ok(require(w.admin, "/docs", 1, false));
	rq = request_of(w.admin, "");
	assert_err(ERR_DENIED, act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/docs/deeper"), "", 0, 0 }, false, &a));
	assert_err(ERR_DENIED, act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/"), "", 0, 0 }, false, &a));
	assert_ok(act_preapprove(w.s, w.t, &rq, &(struct preapproved){ path_of("/feed"), "", 0, 0 }, false, &a));
	/* asked for afterwards: what was pre-approved waits for a person */
	assert_ok(require(w.admin, "/feed", 1, false));
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 0);
	assert_ok(require(w.admin, "/feed", 0, false));
	assert_ok(act_pickup(w.s, w.t, &n));
	assert_int_equal(n, 1);
	check_all(&w);
}

/* --- sessions ------------------------------------------------------------------------------------------------------- */

static bool session_lives(const char *token)
{
	struct session s;

	if (auth_session_cached(w.auth, token, &s) || auth_session_find(w.auth, tools_db(w.t), token, &s) == ERR_OK) {
		person_unref(s.person);
		return true;
	}
	return false;
}

static void session_limits(void **state)
{
	char token[SESSION_TOKEN];

	(void)state;
	/* acts_world: idle an hour, absolute a day */
	assert_ok(auth_session_start(w.auth, tools_db(w.t), w.viewer, "192.0.2.1", "test", token));
	assert_true(session_lives(token));
	clock_test_offset(3500 * CLOCK_SECOND, 3500 * CLOCK_SECOND);
	assert_true(session_lives(token));
	clock_test_offset(7200 * CLOCK_SECOND, 7200 * CLOCK_SECOND);
	assert_false(session_lives(token));
	clock_test_offset(0, 0);
	assert_ok(auth_session_start(w.auth, tools_db(w.t), w.viewer, "192.0.2.1", "test", token));
	for (int64_t at = 0; at < 86000; at += 3000) {
		clock_test_offset(at * CLOCK_SECOND, at * CLOCK_SECOND);
		assert_true(session_lives(token));
	}
	clock_test_offset(86500 * CLOCK_SECOND, 86500 * CLOCK_SECOND);
	assert_false(session_lives(token));
	clock_test_offset(0, 0);
}

/* Who may not log in any more has no session either, should one have been left. */
static void session_of_the_disabled(void **state)
{
	char token[SESSION_TOKEN];

	(void)state;
	assert_ok(put_account(w.admin, "viewer", NULL, false));
	assert_ok(auth_session_start(w.auth, tools_db(w.t), w.viewer, "192.0.2.1", "test", token));
	auth_forget(w.auth);
	assert_false(session_lives(token));
	assert_ok(put_account(w.admin, "viewer", NULL, true));
	assert_false(session_lives(token)); /* ended, not asleep */
}

static void sessions_end_with_the_password(void **state)
{
	char token[SESSION_TOKEN], other_token[SESSION_TOKEN];

	(void)state;
	assert_ok(auth_session_start(w.auth, tools_db(w.t), w.viewer, "192.0.2.1", "test", token));
	assert_ok(auth_session_start(w.auth, tools_db(w.t), w.editor, "192.0.2.1", "test", other_token));
	assert_ok(put_account(w.viewer, "viewer", "a longer password", true));
	assert_false(session_lives(token));
	assert_true(session_lives(other_token));
}

/* --- tokens ---------------------------------------------------------------------------------------------------------- */

static enum err token_make(struct person *who, int64_t seconds, struct token_made *made)
{
	struct act_request rq = request_of(who, "");
	struct act_answer a;

	return act_token_add(w.installation, w.t, &rq, &(struct token_wish){ .label = "a test", .role = ROLE_VIEW, .site = "", .path = path_root(),
	    .expires_at = clock_wall() + seconds * CLOCK_SECOND, .expires = "" }, made, &a);
}

static bool token_kept(const char *text)
{
	struct session s;
	bool kept = auth_token_cached(w.auth, text, &s);

	if (kept)
		person_unref(s.person);
	return kept;
}

static bool token_found(const char *text)
{
	struct session s;
	enum err err = auth_token_find(w.auth, tools_db(w.t), text, "192.0.2.1", &s);

	assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
	if (!err)
		person_unref(s.person);
	return !err;
}

/* At its end, both where it is remembered and where it is looked up. */
static void token_ends(void **state)
{
	struct token_made made;

	(void)state;
	assert_ok(token_make(w.viewer, 3600, &made));
	assert_true(token_found(made.text));
	assert_true(token_kept(made.text));
	clock_test_offset(3601 * CLOCK_SECOND, 0); /* what is remembered is still fresh */
	assert_false(token_kept(made.text));
	auth_forget(w.auth);
	assert_false(token_found(made.text));
	clock_test_offset(0, 0);
}

/* Behind the routes, which no token passes: a token makes and takes back none. */
static void token_of_token(void **state)
{
	const struct role_limit limit = { .role = ROLE_ADMIN, .path = path_root(), .site = "", .token = "0123456789ab" };
	struct person *limited = person_limited(w.viewer, &limit);
	struct act_request rq = request_of(limited, "");
	struct token_made made;
	struct act_answer a;

	(void)state;
	assert_err(ERR_DENIED, token_make(limited, 3600, &made));
	assert_string_equal(made.text, "");
	assert_ok(token_make(w.viewer, 3600, &made));
	assert_err(ERR_DENIED, act_token_revoke(w.installation, w.t, &rq, made.id, &a));
	assert_true(token_found(made.text));
	person_unref(limited);
}

/* --- between the last look and the reading --------------------------------------------------------------------------- */

#ifdef DRYDOCK_ENABLE_FAILPOINTS
static void change_then(const char *step)
{
	if (strcmp(step, "files_selected") == 0) {
		failpoint_hook = NULL;
		put(&w, "/page.html", "not what was shown");
	}
}

static void changed_at_last(void **state)
{
	struct act_answer a;
	struct fingerprint print;

	(void)state;
	put(&w, "/page.html", "what was shown");
	print_of(&w, "/page.html", &print);
	failpoint_hook = change_then;
	assert_err(ERR_STALE, act_expected(&w, w.editor, "sign", "/page.html", &print.sha256, &a, NULL));
	failpoint_hook = NULL;
	assert_false(is_exported(&w, "/page.html"));
	check_all(&w);
}

/* Between the reading and the transaction somebody takes the approved version away that was shown beside it. */
static void revoke_then(const char *step)
{
	struct act_answer a;

	if (strcmp(step, "files_read") == 0) {
		failpoint_hook = NULL;
		assert_ok(act_now(&w, w.admin, "revoke", "/page.html", false, &a));
	}
}

static void revoked_at_last(void **state)
{
	struct act_answer a;
	struct fingerprint print;

	(void)state;
	put(&w, "/page.html", "first");
	assert_ok(sign_now(&w, w.editor, "/page.html", false, &a));
	put(&w, "/page.html", "second");
	print_of(&w, "/page.html", &print);
	failpoint_hook = revoke_then;
	assert_err(ERR_STALE, act_expected(&w, w.editor, "sign", "/page.html", &print.sha256, &a, NULL));
	failpoint_hook = NULL;
	assert_false(is_exported(&w, "/page.html"));
	check_all(&w);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(delegated, begin, end),
		cmocka_unit_test_setup_teardown(two_steps, begin, end),
		cmocka_unit_test_setup_teardown(last_admin, begin, end),
		cmocka_unit_test_setup_teardown(take_over, begin, end),
		cmocka_unit_test_setup_teardown(who_requires, begin, end),
		cmocka_unit_test_setup_teardown(reviews_needed, begin, end),
		cmocka_unit_test_setup_teardown(owner_alone, begin, end),
		cmocka_unit_test_setup_teardown(preapproved_needs, begin, end),
		cmocka_unit_test_setup_teardown(session_limits, begin, end),
		cmocka_unit_test_setup_teardown(session_of_the_disabled, begin, end),
		cmocka_unit_test_setup_teardown(sessions_end_with_the_password, begin, end),
		cmocka_unit_test_setup_teardown(token_ends, begin, end),
		cmocka_unit_test_setup_teardown(token_of_token, begin, end),
#ifdef DRYDOCK_ENABLE_FAILPOINTS
		cmocka_unit_test_setup_teardown(changed_at_last, begin, end),
		cmocka_unit_test_setup_teardown(revoked_at_last, begin, end),
#endif
	};

	cmocka_set_test_filter(getenv("DRYDOCK_TEST")); /* one of them, by name: tests/weaken/run */
	int failed = cmocka_run_group_tests_name("rights", tests, NULL, NULL);

	world_end();
	return failed;
}
