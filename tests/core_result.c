/* SPDX-License-Identifier: MIT
 *
 * Names of results, reasons and errors; the partial order of attributes.
 */
#include <vmfault/vmfault.h>
#include "vmtest.h"

static void every_name_is_its_own(void)
{
	for (unsigned a = 0; a <= VMF_POISON; a++)
		for (unsigned b = 0; b < a; b++)
			CHECK(strcmp(vmf_code_str(a), vmf_code_str(b)));
	for (unsigned a = 0; a <= VMF_WHY_POLICY; a++)
		for (unsigned b = 0; b < a; b++)
			CHECK(strcmp(vmf_why_str(a), vmf_why_str(b)));
	for (int a = 0; a <= VMF_EDEADLK; a++)
		for (int b = 0; b < a; b++)
			CHECK(strcmp(vmf_err_str(a), vmf_err_str(b)));
}

static void names_are_as_in_the_header(void)
{
	CHECK(!strcmp(vmf_code_str(VMF_OK), "OK"));
	CHECK(!strcmp(vmf_code_str(VMF_SIGBUS), "SIGBUS"));
	CHECK(!strcmp(vmf_code_str(VMF_POISON), "POISON"));
	CHECK(!strcmp(vmf_why_str(VMF_WHY_IOERR), "IOERR"));
	CHECK(!strcmp(vmf_why_str(VMF_WHY_POLICY), "POLICY"));
}

static void unknown_numbers_have_a_name(void)
{
	static const unsigned odd[] = { 9, 15, 16, 255, 256, 1u << 31, UINT32_MAX };

	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		CHECK(vmf_code_str(odd[i]) && *vmf_code_str(odd[i]));
		CHECK(vmf_why_str(odd[i]) && *vmf_why_str(odd[i]));
		CHECK(vmf_err_str((int)odd[i]) && *vmf_err_str((int)odd[i]));
	}
	CHECK(vmf_err_str(INT32_MIN) && vmf_err_str(INT32_MAX));
}

static void errors_have_either_sign(void)
{
	for (int e = 1; e <= VMF_EDEADLK; e++)
		CHECK(vmf_err_str(e) == vmf_err_str(-e));
}

static void a_result_is_printed_and_cut(void)
{
	static const struct { struct vmf_result r; const char *text; } t[] = {
		{ { VMF_OK, 0, 0, 0, 0 }, "OK" },
		{ { VMF_SIGBUS, VMF_WHY_IOERR, 0, 0, 5 }, "SIGBUS/IOERR 5" },
		{ { VMF_SIGBUS, VMF_WHY_EOF, VMF_MAJOR, 0, 0 }, "SIGBUS/EOF" },
		{ { VMF_SIGBUS, VMF_WHY_IOERR, 0, 0, INT32_MIN }, "SIGBUS/IOERR -2147483648" },
		{ { VMF_RETRY, VMF_WHY_RACE, 0, 0, 0 }, "RETRY/RACE" },
	};
	char buf[64];

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		CHECK(vmf_result_str(t[i].r, buf, sizeof(buf)) == buf);
		if (strcmp(buf, t[i].text))
			vmtest_fail("\"%s\", not \"%s\"", buf, t[i].text);
		for (size_t n = 1; n < sizeof(buf); n++) {
			memset(buf, 'x', sizeof(buf));
			vmf_result_str(t[i].r, buf, n);
			CHECK(strlen(buf) == (strlen(t[i].text) < n - 1 ? strlen(t[i].text) : n - 1));
			CHECK(!strncmp(buf, t[i].text, strlen(buf)));
			CHECK(n == sizeof(buf) || buf[n] == 'x');
		}
		buf[0] = 'x';
		vmf_result_str(t[i].r, buf, 0);
		CHECK(buf[0] == 'x');
	}
}

/* got down, wanted across. */
static const bool order[5][5] = {
	/*             WB     WT     WC     UC     DEVICE */
	/* WB */     { true,  false, false, false, false },
	/* WT */     { true,  true,  false, false, false },
	/* WC */     { true,  false, true,  false, false },
	/* UC */     { true,  true,  true,  true,  false },
	/* DEVICE */ { true,  true,  true,  true,  true },
};

static void attributes_are_partially_ordered(void)
{
	static const uint8_t t[] = { VMF_WB, VMF_WT, VMF_WC, VMF_UC, VMF_DEVICE };

	for (unsigned g = 0; g < 5; g++)
		for (unsigned w = 0; w < 5; w++)
			for (unsigned s = 0; s < 4; s++) {
				struct vmf_attr got = { .type = t[g], .strengthen = s & 1, .port = 3 };
				struct vmf_attr wanted = { .type = t[w], .strengthen = s >> 1, .port = 3 };

				CHECK_EQ(vmf_attr_covers(got, wanted), order[g][w]);
			}
}

static void port_bits_are_compared(void)
{
	static const uint32_t bits[] = { 0, 1, 2, 1u << 31, UINT32_MAX };

	for (unsigned a = 0; a < 5; a++)
		for (unsigned b = 0; b < 5; b++) {
			struct vmf_attr got = { .type = VMF_DEVICE, .port = bits[a] }, wanted = { .port = bits[b] };

			CHECK_EQ(vmf_attr_covers(got, wanted), a == b);
		}
}

static void an_unknown_type_covers_nothing(void)
{
	for (unsigned t = 5; t < 256; t++) {
		struct vmf_attr odd = { .type = (uint8_t)t }, wb = { .type = VMF_WB }, device = { .type = VMF_DEVICE };

		CHECK(!vmf_attr_covers(odd, wb));
		CHECK(!vmf_attr_covers(device, odd));
	}
}

static const struct vmtest tests[] = {
	VMTEST(every_name_is_its_own),
	VMTEST(names_are_as_in_the_header),
	VMTEST(unknown_numbers_have_a_name),
	VMTEST(errors_have_either_sign),
	VMTEST(a_result_is_printed_and_cut),
	VMTEST(attributes_are_partially_ordered),
	VMTEST(port_bits_are_compared),
	VMTEST(an_unknown_type_covers_nothing),
};
VMTEST_MAIN(tests, 10)
