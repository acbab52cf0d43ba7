/* Handing a message over: to send-notice (SMTP, HTTP), or to a sendmail command. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/confine.h"
#include "base/file.h"
#include "base/json.h"
#include "base/spawn.h"
#include "base/utf8.h"
#include "notice/internal.h"

#define MESSAGE_LIMIT (512u * 1024)
#define DEADLINE (50 * CLOCK_SECOND) /* send-notice gives up by itself before that */
#define SECRET_LIMIT 1024

/* The first line of a file of ours that holds a secret. */
static enum err read_secret(const char *file, struct buf *out)
{
	enum err e = file_read(AT_FDCWD, file, out);

	if (!e && out->len)
		out->p[out->len = strcspn(out->p, "\r\n")] = '\0';
	if (!e && !out->len)
		e = err_set(ERR_FAILED, "%s: the first line is empty", file);
	return e;
}

/* rules: what shuts it in, from confine_open(); NULL: nothing. */
static enum err run(const char *const *argv, const struct buf *input, int *rules, atomic_int *cancel)
{
	struct buf said = BUF_INIT(4096), shown = BUF_INIT(480);
	struct spawn_result res;
	const struct spawn s = { .argv = argv, .input = input->p, .input_len = input->len, .deadline_us = DEADLINE, .out = &said, .cancel = cancel,
		.before_exec = rules ? confine_self : NULL, .before_arg = rules };
	enum err e = spawn_run(&s, &res);

	if (!e && res.timed_out)
		e = err_set(ERR_FAILED, "it took longer than %lld s", (long long)(DEADLINE / CLOCK_SECOND));
	if (!e && res.status) {
		utf8_visible(&shown, buf_text(&said), strcspn(buf_text(&said), "\n"), false);
		e = shown.len ? err_set(ERR_FAILED, "%s", buf_text(&shown)) : err_set(ERR_FAILED, "it ended with status %d, without a word", res.status);
	}
	buf_release(&said);
	buf_release(&shown);
	return e;
}

/* Not shut in: most of them need the rights of a group, which a confined program cannot get. */
static enum err give_to_sendmail(const struct notice_message *m, const struct buf *text, atomic_int *cancel)
{
	const char *argv[CONF_MAIL_MOST + 6] = { m->conf->sendmail, "-i", "-f", m->conf->mail_from, "--" };
	struct buf lines = BUF_INIT(MESSAGE_LIMIT);
	enum err e;

	for (size_t i = 0; i < m->site->n_mail_to && i < CONF_MAIL_MOST; i++)
		argv[5 + i] = m->site->mail_to[i];
	/* It wants lines as files have them. */
	for (size_t i = 0; i < text->len; i++)
		if (text->p[i] != '\r')
			buf_char(&lines, text->p[i]);
	e = run(argv, &lines, NULL, cancel);
	buf_release(&lines);
	return e;
}

static enum err give_to_program(const struct conf *conf, struct buf *request, atomic_int *cancel)
{
	char *program = mem_printf("%s/send-notice", conf_libexec_dir());
	const char *const argv[] = { program, NULL };
	/* Where /etc/resolv.conf may lead to. */
	const struct confine_path paths[] = { { program, false }, { "/run/systemd/resolve", false }, { "/run/resolvconf", false },
		{ *conf->notice_ca_file ? conf->notice_ca_file : program, false } };
	int rules = -1;
	enum err e = confine_open(paths, sizeof(paths) / sizeof(*paths), &rules);

	if (!e)
		e = run(argv, request, &rules, cancel);
	if (rules >= 0)
		(void)close(rules);
	free(program);
	return e;
}

static enum err send_mail(const struct notice_message *m, atomic_int *cancel)
{
	struct buf text = BUF_INIT(MESSAGE_LIMIT), request = BUF_INIT(2 * MESSAGE_LIMIT), secret = BUF_INIT(SECRET_LIMIT);
	struct json_out o = { .b = &request };
	enum err e = notice_mail(m, &text);

	if (e || *m->conf->sendmail) {
		if (!e)
			e = give_to_sendmail(m, &text, cancel);
		goto out;
	}
	if (*m->conf->mail_password_file)
		e = read_secret(m->conf->mail_password_file, &secret);
	if (e)
		goto out;
	json_out_begin(&o, '{');
	json_out_kstr(&o, "url", m->conf->mail_server);
	json_out_kstr(&o, "ca_file", m->conf->notice_ca_file);
	json_out_kstr(&o, "from", m->conf->mail_from);
	json_out_name(&o, "to");
	json_out_begin(&o, '[');
	for (size_t i = 0; i < m->site->n_mail_to; i++)
		json_out_str(&o, m->site->mail_to[i]);
	json_out_end(&o, ']');
	json_out_kstr(&o, "user", m->conf->mail_user);
	json_out_kstr(&o, "password", buf_text(&secret));
	json_out_kstr(&o, "text", buf_text(&text));
	json_out_end(&o, '}');
	e = buf_check(&request);
	if (!e)
		e = give_to_program(m->conf, &request, cancel);
out:
	explicit_bzero(request.p ? request.p : (char[1]){ 0 }, request.len);
	explicit_bzero(secret.p ? secret.p : (char[1]){ 0 }, secret.len);
	buf_release(&text);
	buf_release(&request);
	buf_release(&secret);
	return e;
}

static enum err send_webhook(const struct notice_message *m, const char *url, atomic_int *cancel)
{
	struct buf text = BUF_INIT(MESSAGE_LIMIT), request = BUF_INIT(2 * MESSAGE_LIMIT), secret = BUF_INIT(SECRET_LIMIT);
	struct json_out o = { .b = &request };
	char hex[SHA256_HEX];
	struct sha256 mac;
	enum err e;

	notice_json(m, &text);
	e = buf_check(&text);
	if (!e && *m->site->webhook_secret_file)
		e = read_secret(m->site->webhook_secret_file, &secret);
	if (e)
		goto out;
	json_out_begin(&o, '{');
	json_out_kstr(&o, "url", url);
	json_out_kstr(&o, "ca_file", m->conf->notice_ca_file);
	if (secret.len) {
		hmac_sha256(&mac, secret.p, secret.len, text.p, text.len);
		hex_of(hex, mac.b, sizeof(mac.b));
		json_out_kstr(&o, "signature", hex);
	}
	json_out_kstr(&o, "text", buf_text(&text));
	json_out_end(&o, '}');
	e = buf_check(&request);
	if (!e)
		e = give_to_program(m->conf, &request, cancel);
out:
	explicit_bzero(secret.p ? secret.p : (char[1]){ 0 }, secret.len);
	buf_release(&text);
	buf_release(&request);
	buf_release(&secret);
	return e;
}

enum err notice_send(const struct notice_message *m, const struct notice_channel *ch, atomic_int *cancel)
{
	return ch->url ? send_webhook(m, ch->url, cancel) : send_mail(m, cancel);
}

enum err notice_test(const struct conf *conf, const struct conf_site *site, const struct notice_channel *ch, const char *by)
{
	const struct notice_message m = { .conf = conf, .site = site, .test_by = by, .why = "", .at = clock_wall() };

	return notice_send(&m, ch, NULL);
}

bool notice_channel(const struct conf_site *site, size_t i, struct notice_channel *out)
{
	struct buf text = BUF_INIT(1u << 20), shown = BUF_INIT(1u << 20);

	*out = (struct notice_channel){ .url = NULL };
	if (site->n_mail_to && !i--) {
		buf_str(&text, "mail");
		for (size_t k = 0; k < site->n_mail_to; k++)
			buf_fmt(&text, "%s %s", k ? "," : " to", site->mail_to[k]);
		buf_str(&shown, buf_text(&text));
	} else if (i < site->n_webhooks) {
		const char *host;

		out->url = site->webhooks[i];
		host = strstr(out->url, "://") + 3;
		buf_fmt(&text, "webhook %s", out->url);
		buf_fmt(&shown, "webhook %.*s", (int)((size_t)(host - out->url) + strcspn(host, "/?#")), out->url);
	} else {
		return false;
	}
	sha256_of(&out->key, text.p, text.len);
	snprintf(out->shown, sizeof(out->shown), "%s", buf_text(&shown));
	buf_release(&text);
	buf_release(&shown);
	return true;
}
