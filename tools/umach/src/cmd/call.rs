//! `umach call`: calls a method of any interface that describes itself.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::{CALL_TIMEOUT, Message, Notification, PortOptions, ReceiveRight, Received, SendRight, Task};
use serde_json::{Value, json};
use umach_abi::Code;
use umach_describe::interface::{FAILURE, ITEM};
use umach_describe::value::{Part, Said};
use umach_describe::{Description, Method, Right, signature};
use umach_name_api::Names;

use super::trace::parse_time;
use crate::exit::Exit;
use crate::ids::PortNumber;
use crate::system::{At, name_server};
use crate::text;

/// Calls a method of a service that describes its interface.
#[derive(Args)]
#[command(after_help = "\
Each ARG is JSON, or plain words where the method takes text; or there is one ARG, an object with all arguments by name. For a right, give the \
name of a service; for an open file, a path; for memory, text, or @PATH for what is in a file. What is left away of options at the end is none.

A result is printed as it is if it is text or a number, else as JSON. Rights in it are described: {\"part\", \"is\", \"interface\", \"port\"}. A method with a stream prints an item a line \
until the server ends it. An error of the interface is printed and is exit code 1.
JSON: {\"result\": ..} or {\"error\": ..}, then {\"item\": ..} for each item, an object a line; with --list the description, as `umach describe --json` has it.

Examples:
  umach call org.example.counters --list
  umach call org.example.adder add 2 40
  umach call org.example.adder add '{\"a\": 2, \"b\": 40}'
  umach call org.example.log tail --json | jq .item")]
pub(crate) struct Call {
    /// The service.
    #[arg(value_name = "NAME")]
    name: String,
    /// The method.
    #[arg(value_name = "METHOD", required_unless_present = "list")]
    method: Option<String>,
    /// Its arguments, in order.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Lists the methods.
    #[arg(long, conflicts_with_all = ["method", "arguments"])]
    list: bool,
    /// How long the answer may take [default: what the interface says, else 30s].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    within: Option<Duration>,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Call {
    pub(crate) fn run(self) -> Result<Exit> {
        let task = self.at.connect()?;
        let names = Names::at(name_server(&task)?);
        let right = names.look_up(&self.name).with_context(|| format!("look up {}", self.name))?;
        let description = right.describe().with_context(|| format!("ask {} what it serves", self.name))?;
        let Some(name) = &self.method else { return self.list(&description) };
        let Some(method) = description.method(name) else {
            let known: Vec<&str> = description.methods.iter().map(|method| method.name.as_str()).collect();
            bail!("{} ({}) has no method {name}; there are: {}", self.name, description.name, known.join(", "));
        };
        let body = method.write_request(&self.given(method)?).with_context(|| format!("the arguments of {}", signature(method)))?;
        let id = description.request_id(method);
        let mut message = Message::new(id).bytes(&body.bytes);
        let stream = method.stream.as_ref().map(|stream| open_stream(&task, stream.queue)).transpose()?;
        if let Some(port) = &stream {
            message = message.make_send(port);
        }
        for part in &body.parts {
            message = add_part(message, part, &names)?;
        }
        let within = self.within.or(method.deadline_ms.map(Duration::from_millis)).unwrap_or(CALL_TIMEOUT);
        if method.one_way {
            right.send_within(message, within)?;
            return Ok(Exit::DONE);
        }
        let exit = self.answer(&task, &description, method, right.call_within(message, within)?)?;
        if let (Some(port), Exit::DONE) = (stream, exit) {
            self.items(&task, method, id.wrapping_add(ITEM), &port)?;
        }
        Ok(exit)
    }

    fn list(&self, description: &Description) -> Result<Exit> {
        if self.json {
            text::print_json(description)?;
            return Ok(Exit::DONE);
        }
        let mut out = format!("{} at {}\n", description.name, self.name);
        for method in &description.methods {
            out.push_str(&format!("  {}\n", signature(method)));
            if let Some(line) = method.docs.lines().map(str::trim).find(|line| !line.is_empty()) {
                out.push_str(&format!("      {line}\n"));
            }
        }
        text::print(&out)?;
        Ok(Exit::DONE)
    }

    /// The arguments: in order, or one object of all by name.
    fn given(&self, method: &Method) -> Result<Value> {
        if let ([one], true) = (&self.arguments[..], method.arguments.len() != 1)
            && let Ok(Value::Object(all)) = serde_json::from_str(one)
        {
            return Ok(Value::Object(all));
        }
        if self.arguments.len() > method.arguments.len() {
            bail!("{} arguments are given: {} takes {}", self.arguments.len(), signature(method), method.arguments.len());
        }
        Ok(self.arguments.iter().zip(&method.arguments).map(|(text, argument)| argument.ty.parse(text)).collect())
    }

    fn answer(&self, task: &Task, description: &Description, method: &Method, mut answer: Received) -> Result<Exit> {
        if answer.id() == FAILURE {
            let (code, why) = answer.body::<(u32, String)>().context("read why there is no answer")?;
            bail!("{}.{} was not answered: {}: {why}", description.name, method.name, Code(code));
        }
        if answer.id() != description.answer_id(method) {
            bail!("{} answered with message {} instead of {}", self.name, answer.id(), description.answer_id(method));
        }
        let said = method.read_answer(answer.bytes()).context("read the answer")?;
        match said {
            Said::Error(value) => {
                let value = described(task, &mut answer, value)?;
                match self.json {
                    true => text::print(&format!("{}\n", json!({ "error": value })))?,
                    false => eprintln!("umach: {}.{}: {}", description.name, method.name, plain(&value)),
                }
                Ok(Exit::FAILED)
            }
            said => {
                let value = described(task, &mut answer, said.value().clone())?;
                match self.json {
                    true => text::print(&format!("{}\n", json!({ "result": value })))?,
                    false if value.is_null() && method.gives_nothing() => {}
                    false => text::print(&format!("{}\n", plain(&value)))?,
                }
                Ok(Exit::DONE)
            }
        }
    }

    /// Prints the items of a stream until the server has ended it.
    fn items(&self, task: &Task, method: &Method, id: i32, port: &ReceiveRight) -> Result<()> {
        loop {
            let mut message = port.receive()?;
            match message.notification() {
                Some(Notification::NoSenders { .. }) => return Ok(()),
                Some(_) => continue,
                None => {}
            }
            if message.id() != id {
                bail!("message {} came instead of an item ({id})", message.id());
            }
            let value = method.read_item(message.bytes()).context("read an item")?;
            let value = described(task, &mut message, value)?;
            match self.json {
                true => text::print(&format!("{}\n", json!({ "item": value })))?,
                false => text::print(&format!("{}\n", plain(&value)))?,
            }
        }
    }
}

/// A port for items. The server's is the only right to it, so its end is the stream's, and is told behind the last item.
fn open_stream(task: &Task, queue: u32) -> Result<ReceiveRight> {
    let port = task.new_port_with(PortOptions { queue_limit: Some(queue), ..PortOptions::default() })?;
    port.on_no_senders(&port)?;
    Ok(port)
}

/// What was given for a right, a file or memory.
fn add_part(message: Message, part: &Part, names: &Names) -> Result<Message> {
    let Value::String(given) = &part.given else { bail!("for {} give a word, not {}", part.kind, part.given) };
    Ok(match part.kind {
        Right::Send => {
            let right: SendRight = names.look_up(given).with_context(|| format!("look up {given}, to hand on the right"))?;
            message.move_send(right)
        }
        Right::File => message.file(File::open(given).with_context(|| format!("open {given}"))?),
        Right::Memory => match given.strip_prefix('@') {
            Some(path) => message.memory(std::fs::read(path).with_context(|| format!("read {path}"))?),
            None => message.memory(given.as_bytes()),
        },
        other => bail!("a {other} right cannot be given on a command line"),
    })
}

/// The value with the ports of its rights. They end with this program.
fn described(task: &Task, message: &mut Received, mut value: Value) -> Result<Value> {
    if message.parts() > 0 {
        let mut ports = Vec::new();
        let mut rights = Vec::new();
        for part in 0..message.parts() {
            let right = message.right_kind(part).and_then(|_| message.take_send(part).ok());
            ports.push(right.as_ref().map(SendRight::name));
            rights.extend(right);
        }
        let rows = task.control()?.space()?;
        let object = |name| rows.iter().find(|row| row.name == name).map(|row| row.object);
        let ports: Vec<Option<u64>> = ports.into_iter().map(|name| name.and_then(object)).collect();
        describe_parts(&mut value, &ports);
    }
    Ok(value)
}

fn describe_parts(value: &mut Value, ports: &[Option<u64>]) {
    match value {
        Value::Object(all) => {
            let part = all.get("part").and_then(Value::as_u64).filter(|_| all.contains_key("is"));
            match part.and_then(|part| ports.get(part as usize).copied().flatten()) {
                Some(port) => drop(all.insert("port".into(), json!(PortNumber(port).to_string()))),
                None => all.values_mut().for_each(|value| describe_parts(value, ports)),
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| describe_parts(value, ports)),
        _ => {}
    }
}

/// For people.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(all) if all.len() == 1 && all.get("text").is_some_and(Value::is_string) => plain(&all["text"]),
        Value::Object(all) if all.contains_key("part") && all.contains_key("is") => {
            let word = |name: &str| all.get(name).and_then(Value::as_str).map_or_else(String::new, |word| format!(" {word}"));
            format!("{} right{}{}", all["is"].as_str().unwrap_or("some"), word("port"), word("interface"))
        }
        Value::Object(_) | Value::Array(_) => serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string()),
        other => other.to_string(),
    }
}
