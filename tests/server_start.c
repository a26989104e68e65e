/* SPDX-License-Identifier: MIT
 *
 * What the command says, and how it ends, when it cannot start: images, sockets, pid files, options.
 */
#include "serve_rig.h"
#include <sys/socket.h>
#include <sys/un.h>

static struct serve s;

/* Ends with this code after one line on stderr that names `path` and says why, and prints nothing. */
static void ends(int code, const char *path, const char *why)
{
	char start[160];

	CHECK_EQ(serve_wait(&s), code);
	snprintf(start, sizeof start, path ? "vmfault serve: %s: " : "vmfault serve: ", path);
	if (strncmp(serve_text(s.err), start, strlen(start)) || !strstr(serve_text(s.err), why))
		vmtest_fail("'%s' is not '%s...%s'", serve_text(s.err), start, why);
	CHECK_EQ(serve_lines(s.err, "\n"), 1);
	CHECK_EQ(strlen(serve_text(s.out)), 0);
}

static void serve_with(const char *image, const char *sock, const char *more, const char *value)
{
	const char *args[] = { "serve", "--socket", sock, "--image", image, more, value, NULL };

	serve_exec(&s, args);
}

static void image_ends(const char *image, const char *why)
{
	struct stat st;

	serve_with(image, s.sock, NULL, NULL);
	ends(1, image, why);
	CHECK(lstat(s.sock, &st) && errno == ENOENT);
}

static void images(void)
{
	serve_open(&s);
	image_ends(s.image, "No such file");
	image_ends(s.dir, "is a directory");
	image_ends("/dev/null", "neither a file nor a block device");
	CHECK_EQ(mkfifo(s.image, 0600), 0);
	image_ends(s.image, "neither a file nor a block device");
	unlink(s.image);
	close(open(s.image, O_CREAT | O_WRONLY, 0600));
	image_ends(s.image, "is empty");
	unlink(s.image);
	serve_close(&s);
}

/* Root can read every file; nobody cannot. */
static void become_nobody(void)
{
	static char command[32];
	int fd = open(getenv("VMFAULT") ? getenv("VMFAULT") : "/nonexistent", O_RDONLY);

	if (fd < 0)
		vmtest_skip("the command was not built ($VMFAULT)");
	/* The command may lie where nobody else can reach it: a descriptor of it can be run all the same. */
	snprintf(command, sizeof command, "/proc/self/fd/%d", fd);
	setenv("VMFAULT", command, 1);
	CHECK(!chown(s.image, 65534, 65534) && !chown(s.dir, 65534, 65534));
	CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534));
}

static void unreadable_image(void)
{
	pid_t pid;

	serve_open(&s);
	image_make(s.image, 0, 1);
	CHECK_EQ(chmod(s.image, 0), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		if (!geteuid())
			become_nobody();
		serve_with(s.image, s.sock, NULL, NULL);
		ends(1, s.image, "Permission denied");
		vmtest_end(0);
	}
	CHECK_EQ(client_wait(pid), 0);
	serve_close(&s);
}

static void sockets(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char full[200];
	struct stat st;
	int fd;

	serve_open(&s);
	image_make(s.image, 0, 1);
	fd = open(s.sock, O_CREAT | O_WRONLY, 0600);
	CHECK_EQ(write(fd, "precious", 8), 8);
	close(fd);
	serve_with(s.image, s.sock, NULL, NULL);
	ends(1, s.sock, "not a socket");
	CHECK(!stat(s.sock, &st) && st.st_size == 8);
	unlink(s.sock);
	memset(full, 'x', 150);
	full[0] = '/';
	full[150] = '\0';
	serve_with(s.image, full, NULL, NULL);
	ends(1, full, "longer than 107 bytes");
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	strcpy(a.sun_path, s.sock);
	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 1));
	serve_with(s.image, s.sock, NULL, NULL);
	ends(1, s.sock, "already served");
	close(fd);
	/* Now it is stale. */
	SERVE_START(&s, NULL);
	CHECK_EQ(serve_stop(&s), 0);
	serve_close(&s);
}

static void pid_file(void)
{
	struct stat st;

	serve_open(&s);
	image_make(s.image, 0, 1);
	serve_with(s.image, s.sock, "--pid-file", s.dir);
	ends(1, s.dir, "Is a directory");
	CHECK(lstat(s.sock, &st) && errno == ENOENT);
	SERVE_START(&s, NULL);
	CHECK_EQ(atoi(serve_text(s.pid_file)), s.pid);
	CHECK_EQ(serve_stop(&s), 0);
	CHECK(lstat(s.pid_file, &st) && errno == ENOENT);
	serve_close(&s);
}

static void options(void)
{
	static const char *const wrong[][8] = {
		{ "serve", NULL },
		{ "serve", "--socket", "x", NULL },
		{ "serve", "--image", "x", NULL },
		{ "serve", "--socket", "x", "--image", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--nope", NULL },
		{ "serve", "--socket", "x", "--image", "x", "word", NULL },
		{ "serve", "--socket", "", "--image", "x", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--fault-around", "12x", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--fault-around", "12k", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--fault-around", "0", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--fault-around", "4M", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--on-error", "zero", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--threads", "0", NULL },
		{ "serve", "--socket", "x", "--image", "x", "--json=yes", NULL },
	};

	serve_open(&s);
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		serve_exec(&s, wrong[i]);
		ends(2, NULL, "");
	}
	serve_close(&s);
}

static void help(void)
{
	static const char *const args[] = { "serve", "--help", NULL };

	serve_open(&s);
	serve_exec(&s, args);
	CHECK_EQ(serve_wait(&s), 0);
	CHECK(strstr(serve_text(s.out), "--fault-around SIZE"));
	serve_close(&s);
}

static const struct vmtest tests[] = {
	VMTEST(images), VMTEST(unreadable_image), VMTEST(sockets), VMTEST(pid_file), VMTEST(options), VMTEST(help),
};
VMTEST_MAIN(tests, 20)
