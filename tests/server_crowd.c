/* SPDX-License-Identifier: MIT
 *
 * Eight clients with 64 MiB each, each with four threads, all verifying every byte, while others come and go.
 */
#include "serve_rig.h"

enum { CLIENTS = 8, PAGES = 16384 };

static struct serve s;

static int verifier(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, (size_t)PAGES * PAGE);
	return guest_verify(&g, 0, 4) ? 1 : 0;
}

static int forever(void *arg)
{
	struct guest g;

	(void)arg;
	guest_start(&g, s.sock, (size_t)PAGES * PAGE);
	return guest_verify(&g, 0, 1) ? 1 : 0;
}

static void crowd(void)
{
	pid_t pid[CLIENTS], victim;

	serve_open(&s);
	image_make(s.image, 0, PAGES);
	SERVE_START(&s, "--fault-around", "64k", NULL);
	for (int i = 0; i < CLIENTS; i++)
		pid[i] = client_fork(verifier, NULL);
	for (int i = 0; i < 20; i++) {
		victim = client_fork(forever, NULL);
		usleep(20000);
		kill(victim, SIGKILL);
		client_wait(victim);
	}
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(client_wait(pid[i]), 0);
	for (int i = 0; i < CLIENTS; i++)
		CHECK_EQ(serve_count(&s, pid[i], "pages"), PAGES);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static const struct vmtest tests[] = { VMTEST(crowd) };

int main(int argc, char **argv)
{
	serve_need_uffd();
	return vmtest_main(tests, sizeof tests / sizeof tests[0], 170, argc, argv);
}
