# What a build is told. Only `deb` has no default; an account that wants its own keys, networks or
# regions says so in a file of variables (README.md).

variable "deb" {
  type        = string
  description = "The package to bake, as cargo deb makes it: .../wsfleetd_VERSION_ARCH.deb."
}

variable "arch" {
  type        = string
  default     = "amd64"
  description = "Processor, in Debian's words: amd64 or arm64. That of the package."
}

variable "base" {
  type        = string
  default     = "debian-12"
  description = "The system: debian-12 or debian-13."
}

variable "output" {
  type        = string
  default     = "."
  description = "Directory for what is kept of a build: manifest.json, packages.txt."
}

# --- in an account

variable "region" {
  type        = string
  default     = "eu-west-1"
  description = "Where the image is built."
}

variable "ami_regions" {
  type        = list(string)
  default     = []
  description = "Where it is copied to."
}

variable "ami_users" {
  type        = list(string)
  default     = []
  description = "Accounts that may launch it. Takes a key of one's own: the default key cannot be shared."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "Key that encrypts the image. Empty: the account's default key for EBS."
}

variable "region_kms_key_ids" {
  type        = map(string)
  default     = {}
  description = "The same for each region of ami_regions; needed there if kms_key_id is set."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Subnet to build in, with a way to Debian's mirror. Empty: the default one."
}

variable "ssh_interface" {
  type        = string
  default     = "public_ip"
  description = "Address by which the build instance is reached: public_ip or private_ip."
}

variable "skip_create_ami" {
  type        = bool
  default     = false
  description = "Do everything but keep an image: for a pull request."
}

variable "deprecate_at" {
  type        = string
  default     = ""
  description = "When EC2 stops listing the image, as 2027-01-01T00:00:00Z. Empty: never."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags beside our own, of the image, its snapshots and the build instance."
}

# --- on a machine of one's own

variable "ssh_host" {
  type        = string
  default     = "127.0.0.1"
  description = "The booted Debian that becomes the image, for -only=null.nspawn."
}

variable "ssh_port" {
  type        = number
  default     = 22
  description = "Its port."
}

variable "ssh_private_key_file" {
  type        = string
  default     = ""
  description = "The key it lets in."
}
