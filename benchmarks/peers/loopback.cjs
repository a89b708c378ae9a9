// Preloaded into a peer that listens on every address of the machine: here it listens on loopback.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  const options = typeof given[0] === "object" ? given[0] : { port: given[0] };
  const ready = given.find((value) => typeof value === "function");
  return listen.call(this, { ...options, host: "127.0.0.1" }, ready);
};
