//! NVIDIA's run-time compiler, loaded from a file: CUDA C++ to PTX without a GPU or a driver.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::{self, Write};
use std::path::Path;
use std::ptr;

use anyhow::{Context, Result, bail};
use libloading::Library;

use super::kernels::Source;

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

/// `NVRTC_SUCCESS`.
const SUCCESS: c_int = 0;

/// The functions of the library that are called here, with the types of `nvrtc.h`.
pub(super) struct Nvrtc {
    create: Create,
    compile: Compile,
    ptx: (Size, Text),
    log: (Size, Text),
    destroy: Destroy,
    /// The functions live as long as it is loaded.
    _library: Library,
}

impl Nvrtc {
    /// Loads the library that lies at `path`.
    pub(super) fn load(path: &Path) -> Result<Nvrtc> {
        // SAFETY: loading NVRTC runs nothing but the set-up of its own state, and the types are those of its header.
        let load = || unsafe {
            let library = Library::new(path)?;
            Ok(Nvrtc {
                create: *library.get::<Create>(c"nvrtcCreateProgram")?,
                compile: *library.get::<Compile>(c"nvrtcCompileProgram")?,
                ptx: (*library.get::<Size>(c"nvrtcGetPTXSize")?, *library.get::<Text>(c"nvrtcGetPTX")?),
                log: (
                    *library.get::<Size>(c"nvrtcGetProgramLogSize")?,
                    *library.get::<Text>(c"nvrtcGetProgramLog")?,
                ),
                destroy: *library.get::<Destroy>(c"nvrtcDestroyProgram")?,
                _library: library,
            })
        };
        load().map_err(|error: libloading::Error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    /// PTX of a source, which can include these headers and nothing else: what was hashed is what is compiled, and no path
    /// gets into the result. Warnings go to standard error.
    pub(super) fn compile(&self, source: &Source, headers: &[Source], architecture: &str) -> Result<String> {
        let mut program = self.create(source, headers)?;
        let ptx = self.compile_program(program, architecture).with_context(|| source.name.clone());
        // SAFETY: the program was created above and is used no more.
        unsafe { (self.destroy)(&raw mut program) };
        ptx
    }

    fn create(&self, source: &Source, headers: &[Source]) -> Result<Program> {
        let c_string = |text: &str| CString::new(text).context("a source with a zero byte");
        let (name, text) = (c_string(&source.name)?, c_string(&source.text)?);
        let names = headers.iter().map(|header| c_string(&header.name)).collect::<Result<Vec<_>>>()?;
        let texts = headers.iter().map(|header| c_string(&header.text)).collect::<Result<Vec<_>>>()?;
        let (names, texts) = (pointers(&names), pointers(&texts));
        let mut program = ptr::null_mut();
        // SAFETY: all strings end in a zero and outlive the call, which copies them; there are as many texts as names.
        let code = unsafe {
            (self.create)(
                &raw mut program,
                text.as_ptr(),
                name.as_ptr(),
                texts.len() as c_int,
                texts.as_ptr(),
                names.as_ptr(),
            )
        };
        if code == SUCCESS {
            Ok(program)
        } else {
            bail!("{}: nvrtcCreateProgram failed with {code}", source.name)
        }
    }

    fn compile_program(&self, program: Program, architecture: &str) -> Result<String> {
        let architecture = CString::new(format!("--gpu-architecture={architecture}"))?;
        // No fast mathematics: a kernel says itself where it takes an approximation.
        let options = [architecture.as_c_str(), c"--std=c++17", c"--fmad=true"];
        let options = options.map(CStr::as_ptr);
        // SAFETY: the program was created by this library, and the options end in a zero and outlive the call.
        let code = unsafe { (self.compile)(program, options.len() as c_int, options.as_ptr()) };
        let log = text(program, self.log)?;
        if code != SUCCESS {
            bail!("does not compile (NVRTC's code {code}):\n{}", log.trim_end());
        }
        io::stderr().lock().write_all(log.as_bytes())?;
        text(program, self.ptx)
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).collect()
}

/// A text that the library keeps with a program.
fn text(program: Program, (size, text): (Size, Text)) -> Result<String> {
    let mut length = 0;
    // SAFETY: the program lives, and the size is written to a place of its type.
    let code = unsafe { size(program, &raw mut length) };
    let mut bytes = vec![0; length];
    // SAFETY: there is room for as many bytes as the library said that the text has.
    if code != SUCCESS || unsafe { text(program, bytes.as_mut_ptr().cast()) } != SUCCESS {
        bail!("NVRTC does not give its result");
    }
    // The size counts the zero at the end.
    Ok(CString::from_vec_with_nul(bytes)?.into_string()?)
}
