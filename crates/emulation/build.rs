//! Compiles the kernels as C++ for the processor and writes down which there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where the kernels lie: the project's own, and those of this crate's tests.
const FOLDERS: [&str; 2] = ["../tensor/kernels", "tests/kernels"];

/// What stands before the name of each kernel, in this order.
const SIGNATURE: &str = r#"extern "C" __global__ void"#;

struct Kernel {
    file: String,
    name: String,
}

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).flag("-fno-exceptions");
    // Kernels read floats as float4; products and sums are fused where a kernel says so, on every processor.
    build.flag("-fno-strict-aliasing").flag("-ffp-contract=off").flag_if_supported("-Wno-unknown-pragmas");
    build.include(root.join("shim")).include(root.join(FOLDERS[0]));
    for file in ["barriers.cpp", "block.cpp", "fiber.cpp"] {
        build.file(root.join("shim").join(file));
    }
    println!("cargo::rerun-if-changed=shim");
    let (mut files, mut kernels) = (BTreeSet::new(), Vec::new());
    for folder in FOLDERS {
        println!("cargo::rerun-if-changed={folder}");
        for path in sources(&root.join(folder))? {
            let (file, names) = scan(&path)?;
            if !files.insert(file.clone()) {
                return Err(
                    format!("{}: another file of kernels is called {file}.cu too", path.display()).into()
                );
            }
            let unit = out.join(format!("{file}.cpp"));
            fs::write(&unit, translation_unit(&path, &file, &names)?)?;
            build.file(unit);
            kernels.extend(names.into_iter().map(|name| Kernel { file: file.clone(), name }));
        }
    }
    refuse_doubles(&mut kernels)?;
    fs::write(out.join("registry.rs"), registry(&kernels)?)?;
    build.try_compile("polytask_emulation_kernels")?;
    Ok(())
}

/// The `.cu` files of a folder, by name.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    paths.sort();
    Ok(paths)
}

/// The stem of a file and the names of its kernels.
fn scan(path: &Path) -> Result<(String, Vec<String>)> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_identifier(stem));
    let stem = stem.ok_or_else(|| format!("{}: name the file with letters, digits and _", path.display()))?;
    let text = fs::read_to_string(path)?;
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>();
    // White space as a single blank, and none of the bounds that may stand before the name.
    let code = without_launch_bounds(&code.join(" ")).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    for rest in code.split(SIGNATURE).skip(1) {
        let name = rest.split('(').next().unwrap_or_default().trim();
        names.push(name.to_owned());
    }
    if names.len() != code.matches("__global__").count() || !names.iter().all(|name| is_identifier(name)) {
        return Err(format!("{}: write every kernel as `{SIGNATURE} name(...)`", path.display()).into());
    }
    Ok((stem.to_owned(), names))
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

fn without_launch_bounds(code: &str) -> String {
    let mut parts = code.split("__launch_bounds__");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once(')').map_or("", |(_, rest)| rest));
    }
    kept
}

/// A file of kernels in a namespace of its own, so that two files may have helpers of the same name.
fn translation_unit(path: &Path, file: &str, names: &[String]) -> Result<String> {
    let mut text = String::new();
    writeln!(text, "#include \"cuda.h\"\n#include \"kernel.h\"\n")?;
    writeln!(text, "namespace kernels_{file} {{\n#include {:?}\n}}\n", path.canonicalize()?)?;
    for name in names {
        writeln!(text, "EMULATION_KERNEL({}, kernels_{file}::{name})", symbol(name))?;
    }
    Ok(text)
}

/// What the trampoline of a kernel is called.
fn symbol(name: &str) -> String {
    format!("polytask_emulation_kernel_{name}")
}

fn refuse_doubles(kernels: &mut [Kernel]) -> Result<()> {
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    for pair in kernels.windows(2) {
        if pair[0].name == pair[1].name {
            let message =
                format!("{}.cu and {}.cu both have a kernel `{}`", pair[0].file, pair[1].file, pair[0].name);
            return Err(message.into());
        }
    }
    Ok(())
}

/// The Rust side: a table of all kernels by name.
fn registry(kernels: &[Kernel]) -> Result<String> {
    let mut text = String::from("unsafe extern \"C\" {\n");
    for kernel in kernels {
        writeln!(text, "    safe static {}: Trampoline;", symbol(&kernel.name))?;
    }
    writeln!(text, "}}\n\npub(crate) static KERNELS: [Kernel; {}] = [", kernels.len())?;
    for Kernel { file, name } in kernels {
        let symbol = symbol(name);
        writeln!(text, "    Kernel {{ file: {file:?}, name: {name:?}, trampoline: &{symbol} }},")?;
    }
    text.push_str("];\n");
    Ok(text)
}
