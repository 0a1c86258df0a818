;; The guest: the few calls of CPython's C API that run one program and say how it ended.
;;
;; It is a position-independent library that is linked with libpython and libc (src/guest/link.rs). How a program
;; ended is decided here, from the C-level exception type and before any further Python code runs: nothing that the
;; program prints, raises, redefines or monkeypatches can change it. Everything else (compiling the text, writing the
;; traceback) is Python, in prelude.py, compiled once into the snapshot.
;;
;; Causes, as src/python.rs reads them:
;;   0 ok   1 assertion failed   2 syntax error   3 exception   4 exit   5 out of memory
(module
  (@dylink.0
    (mem-info (memory 128 4))
    (needed "libpython3.14.so" "libc.so"))

  (import "env" "memory" (memory 0))
  (import "env" "__memory_base" (global $base i32))
  (import "env" "realloc" (func $realloc (param i32 i32) (result i32)))
  (import "env" "__wasilibc_reset_preopens" (func $reset_preopens))
  (import "wasi_snapshot_preview1" "reset_adapter_state" (func $reset_adapter_state))

  (import "env" "Py_InitializeEx" (func $Py_InitializeEx (param i32)))
  (import "env" "PyRun_StringFlags" (func $PyRun_StringFlags (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "PyDict_New" (func $PyDict_New (result i32)))
  (import "env" "PyDict_GetItemString" (func $PyDict_GetItemString (param i32 i32) (result i32)))
  (import "env" "PyImport_AddModule" (func $PyImport_AddModule (param i32) (result i32)))
  (import "env" "PyModule_GetDict" (func $PyModule_GetDict (param i32) (result i32)))
  (import "env" "PyUnicode_FromStringAndSize" (func $PyUnicode_FromStringAndSize (param i32 i32) (result i32)))
  (import "env" "PyUnicode_AsUTF8AndSize" (func $PyUnicode_AsUTF8AndSize (param i32 i32) (result i32)))
  (import "env" "PyObject_CallOneArg" (func $PyObject_CallOneArg (param i32 i32) (result i32)))
  (import "env" "PyEval_EvalCode" (func $PyEval_EvalCode (param i32 i32 i32) (result i32)))
  (import "env" "PyErr_ExceptionMatches" (func $PyErr_ExceptionMatches (param i32) (result i32)))
  (import "env" "PyErr_GetRaisedException" (func $PyErr_GetRaisedException (result i32)))
  (import "env" "PyErr_Clear" (func $PyErr_Clear))
  (import "env" "PyErr_Print" (func $PyErr_Print))

  ;; Addresses: of None itself, and of the variables that hold the exception types.
  (import "GOT.mem" "_Py_NoneStruct" (global $None (mut i32)))
  (import "GOT.mem" "PyExc_AssertionError" (global $AssertionError (mut i32)))
  (import "GOT.mem" "PyExc_SyntaxError" (global $SyntaxError (mut i32)))
  (import "GOT.mem" "PyExc_SystemExit" (global $SystemExit (mut i32)))
  (import "GOT.mem" "PyExc_MemoryError" (global $MemoryError (mut i32)))

  ;; The library's own memory, from $base:
  ;;   0  a string's address and length, as the canonical ABI returns it
  ;;   8  PyObject*: prelude's compile_program    12  prelude's report    16  __main__'s dictionary
  ;;  20  PyObject*: the exception that ended the program, or None
  ;;  32  names
  (data (offset (global.get $base))
    "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00" "\00\00\00\00\00\00\00\00"
    "compile_program\00" ;; at 32
    "report\00\00"       ;; at 48
    "__main__\00")       ;; at 56

  (func $at (param $offset i32) (result i32)
    (i32.add (global.get $base) (local.get $offset)))

  ;; How the host makes room for the strings it passes.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $new i32)
    (local.set $new (call $realloc (local.get $old) (local.get $size)))
    (if (i32.and (i32.eqz (local.get $new)) (i32.ne (local.get $size) (i32.const 0)))
      (then (unreachable)))
    (local.get $new))

  (func (export "prepare") (param $text i32) (param $length i32) (result i32)
    (local $dictionary i32)
    ;; PyRun wants a terminating zero.
    (local.set $text (call $realloc (local.get $text) (i32.add (local.get $length) (i32.const 1))))
    (i32.store8 (i32.add (local.get $text) (local.get $length)) (i32.const 0))
    (call $Py_InitializeEx (i32.const 0)) ;; no signal handlers
    (local.set $dictionary (call $PyDict_New))
    (if (i32.eqz
          (call $PyRun_StringFlags (local.get $text) (i32.const 257 (; Py_file_input ;))
            (local.get $dictionary) (local.get $dictionary) (i32.const 0)))
      (then
        (call $PyErr_Print)
        (return (i32.const 0))))
    ;; Borrowed references: the prelude's dictionary is never freed.
    (i32.store (call $at (i32.const 8)) (call $PyDict_GetItemString (local.get $dictionary) (call $at (i32.const 32))))
    (i32.store (call $at (i32.const 12)) (call $PyDict_GetItemString (local.get $dictionary) (call $at (i32.const 48))))
    (i32.store (call $at (i32.const 16))
      (call $PyModule_GetDict (call $PyImport_AddModule (call $at (i32.const 56)))))
    (i32.store (call $at (i32.const 20)) (global.get $None))
    (i32.const 1))

  (func (export "seal")
    (call $reset_preopens)
    (call $reset_adapter_state))

  (func (export "run") (param $text i32) (param $length i32) (result i32)
    (local $object i32)
    (local $cause i32)
    (i32.store (call $at (i32.const 20)) (global.get $None))
    (block $raised
      (br_if $raised (i32.eqz
        (local.tee $object (call $PyUnicode_FromStringAndSize (local.get $text) (local.get $length)))))
      (local.set $object (call $PyObject_CallOneArg (i32.load (call $at (i32.const 8))) (local.get $object)))
      (if (i32.eqz (local.get $object))
        (then
          ;; Only here, before the program's first line, does a SyntaxError mean that the program is not Python.
          (if (call $PyErr_ExceptionMatches (i32.load (global.get $SyntaxError)))
            (then
              (i32.store (call $at (i32.const 20)) (call $PyErr_GetRaisedException))
              (return (i32.const 2))))
          (br $raised)))
      (br_if $raised (i32.eqz
        (call $PyEval_EvalCode (local.get $object)
          (i32.load (call $at (i32.const 16))) (i32.load (call $at (i32.const 16))))))
      (return (i32.const 0)))
    (local.set $cause (i32.const 3))
    (if (call $PyErr_ExceptionMatches (i32.load (global.get $AssertionError)))
      (then (local.set $cause (i32.const 1))))
    (if (call $PyErr_ExceptionMatches (i32.load (global.get $SystemExit)))
      (then (local.set $cause (i32.const 4))))
    (if (call $PyErr_ExceptionMatches (i32.load (global.get $MemoryError)))
      (then (local.set $cause (i32.const 5))))
    (i32.store (call $at (i32.const 20)) (call $PyErr_GetRaisedException))
    (local.get $cause))

  (func (export "report") (result i32)
    (local $object i32)
    (local $text i32)
    (i64.store (call $at (i32.const 0)) (i64.const 0))
    (local.set $object
      (call $PyObject_CallOneArg (i32.load (call $at (i32.const 12))) (i32.load (call $at (i32.const 20)))))
    (if (local.get $object)
      (then
        (local.set $text (call $PyUnicode_AsUTF8AndSize (local.get $object) (call $at (i32.const 4))))
        (if (local.get $text)
          (then (i32.store (call $at (i32.const 0)) (local.get $text)))
          (else (i32.store (call $at (i32.const 4)) (i32.const 0))))))
    (call $PyErr_Clear)
    (call $at (i32.const 0))))
