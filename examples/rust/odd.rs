// SPDX-License-Identifier: MIT
//
// A terabyte of odd numbers that are made when they are touched.  No crates, but two commands:
//	bindgen --with-derive-default --no-prepend-enum-name -o vmfault.rs include/vmfault/linux.h -- -Iinclude
//	VMFAULT=$PWD/vmfault.rs rustc -Cpanic=abort -Lbuild -lvmfault examples/rust/odd.rs
//
// The space is threaded (the default): nopage() runs on a thread of the library's, where Rust may allocate, lock and
// print.  In context it would run in a signal handler, where it may not.  Either way nothing can catch its panics.
#![allow(non_camel_case_types, non_upper_case_globals, dead_code)]
use std::{ffi::CStr, mem::size_of, process::exit, ptr::null, ptr::null_mut};
include!(env!("VMFAULT"));

unsafe extern "C" fn nopage(req: *const vmf_req, ans: *mut vmf_ans) -> vmf_code {
	let frame = vmf_frame_at((*req).object, (*req).off);
	if frame.is_null() {
		return VMF_OOM;
	}
	let page = vmf_frame_bytes((*req).port, frame) as *mut u64;
	for i in 0..512 {
		*page.add(i as usize) = 2 * ((*req).off * 512 + i) + 1;
	}
	*(*ans).frames = frame;
	(*ans).n = 1;
	VMF_OK
}

unsafe fn made() -> Result<*const u64, i32> {
	let ops = vmf_ops { size: size_of::<vmf_ops>() as u32, nopage: Some(nopage), ..Default::default() };
	let map = vmf_map { size: size_of::<vmf_map>() as u32, flags: VMF_SHARED, pages: 1 << 28, prot: VMF_R as u8,
		..Default::default() };
	let (mut port, mut space, mut object, mut at) = (null_mut(), null_mut(), null_mut(), 0);
	let said = |err| if err == 0 { Ok(()) } else { Err(err) };
	said(vmf_linux_open(&mut port, null()))?;
	said(vmf_linux_space(port, &mut space, null()))?;
	said(vmf_object_create(port, &mut object, &ops, null_mut(), map.pages))?;
	said(vmf_map(space, object, &map, &mut at)).map(|()| at as *const u64)
}

fn main() {
	let odd = unsafe { made() }.unwrap_or_else(|err| {
		eprintln!("odd: it cannot be mapped here: {}", unsafe { CStr::from_ptr(vmf_err_str(err)) }.to_string_lossy());
		exit(4)
	});
	for i in [1, 1_000, 1_000_000_000] {
		println!("odd[{}] = {}", i, unsafe { odd.add(i).read_volatile() });
	}
}
