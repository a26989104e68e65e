// SPDX-License-Identifier: MIT

// A terabyte of odd numbers that are made when they are touched:
//
//	CGO_CFLAGS=-I$PWD/include CGO_LDFLAGS="-L$PWD/build -lvmfault" go build -o odd examples/go/odd.go
//
// The space is threaded (the default), because Go has SIGBUS for itself and cannot run in a signal handler.  And memory
// is touched by a call first: a goroutine in a page fault cannot be stopped for the garbage collector, and nopage, which
// is Go, too, might have to wait for that.  In a call it can be.
package main

// #include <vmfault/linux.h>
// enum vmf_code nopage(struct vmf_req *, struct vmf_ans *);
import "C"
import (
	"fmt"
	"os"
	"unsafe"
)

//export nopage
func nopage(req *C.struct_vmf_req, ans *C.struct_vmf_ans) C.enum_vmf_code {
	frame := C.vmf_frame_at(req.object, req.off)
	if frame == nil {
		return C.VMF_OOM
	}
	page := unsafe.Slice((*uint64)(C.vmf_frame_bytes(req.port, frame)), 512)
	for i := range page {
		page[i] = 2*(uint64(req.off)*512+uint64(i)) + 1
	}
	*ans.frames, ans.n = frame, 1
	return C.VMF_OK
}

func main() {
	ops := C.struct_vmf_ops{size: C.sizeof_struct_vmf_ops, nopage: (*C.vmf_handler)(C.nopage)}
	area := C.struct_vmf_map{size: C.sizeof_struct_vmf_map, flags: C.VMF_SHARED, pages: 1 << 28, prot: C.VMF_R}
	var port *C.struct_vmf_port
	var space *C.struct_vmf_space
	var object *C.struct_vmf_object
	var at *uint64
	if C.vmf_linux_open(&port, nil) != 0 || C.vmf_linux_space(port, &space, nil) != 0 ||
		C.vmf_object_create(port, &object, &ops, nil, area.pages) != 0 ||
		C.vmf_map(space, object, &area, (*C.vmf_va)(unsafe.Pointer(&at))) != 0 {
		fmt.Fprintln(os.Stderr, "odd: it cannot be mapped here; 'vmfault probe' says why")
		os.Exit(4)
	}
	odd := unsafe.Slice(at, 1<<37)
	for _, i := range []int{1, 1_000, 1_000_000_000} {
		if C.vmf_touch(unsafe.Pointer(&odd[i]), 8, C.VMF_R).code != C.VMF_OK {
			os.Exit(1)
		}
		fmt.Printf("odd[%d] = %d\n", i, odd[i])
	}
}
