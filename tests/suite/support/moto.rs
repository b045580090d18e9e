//! EC2 and Auto Scaling as `moto` plays them: an implementation that is not ours.
//!
//! The stage is set with plain HTTP rather than the SDK, so that a misunderstanding of the SDK
//! cannot be on both sides of a story.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The version the expectations were checked against.
const REQUIREMENT: &str = "moto[server]==5.2.5";

/// Importing moto takes seconds on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A moto server on a free port; it ends when dropped.
pub struct Moto {
    address: SocketAddr,
    server: Child,
}

impl Moto {
    /// Installs moto, if need be, and starts it with nothing in its account.
    pub fn start() -> Self {
        let port = free_port();
        let server = Command::new(format!("{}/moto_server", installed()))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let mut moto = Self { address: ([127, 0, 0, 1], port).into(), server };
        moto.wait_until_it_listens();
        moto
    }

    /// The value of `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes an Auto Scaling group of `size` instances; gives their ids.
    pub fn group(&self, name: &str, size: usize) -> Vec<String> {
        self.call(
            "autoscaling",
            "Action=CreateLaunchConfiguration&Version=2011-01-01&LaunchConfigurationName=lc\
             &ImageId=ami-12c6146b&InstanceType=t3.micro",
        );
        self.call(
            "autoscaling",
            &format!(
                "Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName={name}\
                 &LaunchConfigurationName=lc&MinSize=0&MaxSize={size}&DesiredCapacity={size}\
                 &AvailabilityZones.member.1=eu-west-1a"
            ),
        );
        let answer =
            self.call("autoscaling", "Action=DescribeAutoScalingInstances&Version=2011-01-01");
        let ids = values(&answer, "InstanceId");
        assert_eq!(ids.len(), size, "{answer}");
        ids
    }

    /// Runs an instance outside any group.
    pub fn lone_instance(&self) -> String {
        let answer = self.call(
            "ec2",
            "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b&MinCount=1&MaxCount=1",
        );
        values(&answer, "instanceId").remove(0)
    }

    /// Stops an instance.
    pub fn stop(&self, id: &str) {
        self.call("ec2", &format!("Action=StopInstances&Version=2016-11-15&InstanceId.1={id}"));
    }

    /// Terminates an instance.
    pub fn terminate(&self, id: &str) {
        let action = format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={id}");
        self.call("ec2", &action);
    }

    /// A user who may do nothing, and from now on that is enforced; gives key id and secret.
    pub fn powerless_user(&self) -> (String, String) {
        self.call("iam", "Action=CreateUser&Version=2010-05-08&UserName=nobody");
        let keys = self.call("iam", "Action=CreateAccessKey&Version=2010-05-08&UserName=nobody");
        let (status, answer) = self.post("/moto-api/reset-auth", "text/plain", "sts", "0");
        assert_eq!(status, 200, "{answer}");
        (values(&keys, "AccessKeyId").remove(0), values(&keys, "SecretAccessKey").remove(0))
    }

    /// Calls a query-protocol action; moto takes the service from the signature's scope and does
    /// not check the signature.
    fn call(&self, service: &str, form: &str) -> String {
        let (status, answer) = self.post("/", "application/x-www-form-urlencoded", service, form);
        assert_eq!(status, 200, "{form}: {answer}");
        answer
    }

    fn post(&self, path: &str, kind: &str, service: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).expect("moto listens");
        let request = format!(
            "POST {path} HTTP/1.0\r\nHost: {service}.eu-west-1.amazonaws.com\r\n\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 \
             Credential=AKIATEST/20260101/eu-west-1/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("moto reads");
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first).expect("moto answers");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("moto answers in full");
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status line"), rest)
    }

    fn wait_until_it_listens(&mut self) {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.server.try_wait().expect("the server is ours");
            assert!(ended.is_none() && start.elapsed() < START, "moto does not listen: {ended:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The directory of moto's programs, Python with botocore among them.
pub fn installed() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/venv.sh");
    let made = Command::new(script).args(["moto", REQUIREMENT]).output().expect("the script runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "moto cannot be installed: {said}");
    String::from_utf8_lossy(&made.stdout).trim().to_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket").port()
}

/// The texts of all elements called `name`.
fn values(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let elements = xml.split(open.as_str()).skip(1);
    elements.filter_map(|rest| Some(rest.split_once(&close)?.0.to_owned())).collect()
}
