//! Servers that a task declares.

use libtask::SendRight;

use crate::client::{Names, done};
use crate::error::Result;
use crate::protocol::{NameSpace, ServerSpec};

/// A server to be declared: a command that the name server starts when a service of it is needed.
///
/// It runs as the user who declares it, in `/`, without a shell, and finds one service's name in [`crate::SERVICE_VARIABLE`]: the one that was made first.
#[derive(Debug, Clone)]
pub struct NewServer {
    command: Vec<String>,
    uid: Option<u32>,
    on_demand: bool,
}

impl NewServer {
    /// The program, by its full path, and its arguments.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> NewServer {
        NewServer { command: command.into_iter().map(Into::into).collect(), uid: None, on_demand: true }
    }
    /// Says as which user it runs. Only the caller's own is allowed, which it is if this is not said.
    pub fn uid(mut self, uid: u32) -> NewServer {
        self.uid = Some(uid);
        self
    }
    /// Starts it again whenever it has ended. The first start is with the first message all the same, or when a task that served it before is gone.
    pub fn keep_running(mut self) -> NewServer {
        self.on_demand = false;
        self
    }
}

/// The right to a server port. While it is held, the server is there; its process holds one too.
#[derive(Debug)]
pub struct DeclaredServer {
    names: Names,
}

impl Names {
    /// Declares a server in this name space.
    ///
    /// ```no_run
    /// use umach_name_api::{Names, NewServer};
    ///
    /// let task = libtask::Task::current()?;
    /// let server = Names::from_bootstrap(&task)?.create_server(NewServer::new(["/usr/bin/thumbnailer", "--fast"]))?;
    /// let thumbs = server.create_service("org.example.thumbs")?;
    /// thumbs.send(libtask::Message::new(1))?; // starts it
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create_server(&self, new: NewServer) -> Result<DeclaredServer> {
        let NewServer { command, uid, on_demand } = new;
        let uid = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let right = done("create a server", None, self.server.create_server(ServerSpec { command, uid, on_demand }))?;
        Ok(DeclaredServer::at(right))
    }
}

impl DeclaredServer {
    /// The server behind this server port.
    pub fn at<I: ?Sized>(right: SendRight<I>) -> DeclaredServer {
        DeclaredServer { names: Names::at(right) }
    }
    /// Makes a service of this server, in the name space where the server was declared, and gives the right that a look-up finds. Messages to it wait until its
    /// server has checked in; the first one starts it.
    pub fn create_service(&self, name: &str) -> Result<SendRight> {
        done("create a service", Some(name), self.names.server.create_service(name))
    }
    /// The server port as a bootstrap port: services of this server are checked in ([`Names::check_in`]) and undone ([`Names::unregister`]) there; all else is as
    /// in the name space where it was declared.
    pub fn names(&self) -> &Names {
        &self.names
    }
    /// The right alone.
    pub fn into_right(self) -> SendRight<dyn NameSpace> {
        self.names.into_right()
    }
    /// The right itself: who has it may do with this server what its declarer may.
    pub fn right(&self) -> &SendRight<dyn NameSpace> {
        self.names.right()
    }
    /// Ends the server at once: its names are gone, and its process is killed.
    pub fn undo(self) -> Result<()> {
        done("undo a server", None, self.names.server.undo_server())
    }
}
