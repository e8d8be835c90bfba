//! `umach call`: calls a method of any interface that describes itself.

mod given;
mod shown;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use libtask::{CALL_TIMEOUT, Message, Notification, PortOptions, ReceiveRight, Received, Task};
use serde_json::json;
use umach_abi::Code;
use umach_describe::interface::{FAILURE, ITEM};
use umach_describe::value::Said;
use umach_describe::{Description, Method, signature};
use umach_name_api::Names;

use self::shown::{described, plain};
use super::trace::parse_time;
use crate::exit::{Exit, complain};
use crate::system::{At, name_server};
use crate::text;

/// Calls a method of a service that describes its interface.
#[derive(Args)]
#[command(after_help = "\
Each ARG is JSON, or plain words where the method takes text; or there is one ARG, an object with all arguments by name. For a right, give the \
name of a service; for an open file, a path; for memory and bytes, text, or @FILE for what is in a file. In place of other JSON, @FILE is what \
is in it. @- is standard input, @@ at the beginning a plain @. What is left away of options at the end is none.

A result is printed as it is if it is text or a number, else as JSON. Parts of it are described: {\"part\", \"is\"}, of rights \"interface\" and \"port\", \
of memory \"bytes\" (how many) and \"text\" or \"hex\". A method with a stream prints an item a line, as they come, \
until the server ends it. An error of the interface is printed and is exit code 1; arguments that the method does not take are exit code 2.
JSON: {\"result\": ..} or {\"error\": ..}, then {\"item\": ..} for each item, an object a line; with --list the description, as `umach describe --json` has it.

Examples:
  umach call org.example.counters --list
  umach call org.example.adder add 2 40
  umach call org.example.adder add '{\"a\": 2, \"b\": 40}'
  umach call org.example.log write @message.bin
  jq .config app.json | umach call org.example.app configure @-
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
    /// How long the answer may take, a stream's items aside [default: what the interface says, else 30s].
    #[arg(long, alias = "within", value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Writes the memory or the open file in the result into a file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// The command line was wrong, which only the description of the interface tells.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

impl Call {
    pub(crate) fn run(self) -> Result<Exit> {
        let task = self.at.connect()?;
        let names = Names::at(name_server(&task)?);
        let right = names.look_up(&self.name).with_context(|| format!("look up {}", self.name))?;
        let description = right.describe().with_context(|| format!("ask {} what it serves", self.name))?;
        let Some(name) = &self.method else { return self.list(&description) };
        let Some(method) = description.method(name) else {
            let known: Vec<&str> = description.methods.iter().map(|method| method.name.as_str()).collect();
            let says = format!("{} ({}) has no method {name}; there are: {}", self.name, description.name, known.join(", "));
            return Err(Usage(says).into());
        };
        let body = given::request(method, &self.arguments)?;
        let id = description.request_id(method);
        let mut message = Message::new(id).bytes(&body.bytes);
        let stream = method.stream.as_ref().map(|stream| open_stream(&task, stream.queue)).transpose()?;
        if let Some(port) = &stream {
            message = message.make_send(port);
        }
        message = given::add_parts(message, &body.parts, &task, &names)?;
        let within = self.timeout.or(method.deadline_ms.map(Duration::from_millis)).unwrap_or(CALL_TIMEOUT);
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

    fn answer(&self, task: &Task, description: &Description, method: &Method, mut answer: Received) -> Result<Exit> {
        if answer.id() == FAILURE {
            let (code, why) = answer.body::<(u32, String)>().context("read why there is no answer")?;
            bail!("{}.{} was not answered: {}: {why}; it is {}", description.name, method.name, Code(code), signature(method));
        }
        if answer.id() != description.answer_id(method) {
            bail!("{} answered with message {} instead of {}", self.name, answer.id(), description.answer_id(method));
        }
        let said = method.read_answer(answer.bytes()).context("read the answer")?;
        match said {
            Said::Error(value) => {
                let value = described(task, &mut answer, value, None)?;
                match self.json {
                    true => text::print_json_line(&json!({ "error": value }))?,
                    false => complain(&format!("{}.{}: {}", description.name, method.name, plain(&value, false))),
                }
                Ok(Exit::FAILED)
            }
            said => {
                let value = described(task, &mut answer, said.value().clone(), self.save.as_deref())?;
                match self.json {
                    true => text::print_json_line(&json!({ "result": value }))?,
                    false if value.is_null() && method.gives_nothing() => {}
                    false => text::print_of_others(&plain(&value, false))?,
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
            let value = described(task, &mut message, value, None)?;
            match self.json {
                true => text::print_json_line(&json!({ "item": value }))?,
                false => text::print_of_others(&plain(&value, true))?,
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
