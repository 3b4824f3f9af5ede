// A program with @google-cloud/profiler: cloud_profiler_client.js URL SERVICE KEY
"use strict";

const { OAuth2Client } = require("google-auth-library");
const profiler = require("@google-cloud/profiler");
const { work } = require("./work.js");

const [url, service, key] = process.argv.slice(2);
const authClient = new OAuth2Client();
authClient.setCredentials({ access_token: key, expiry_date: 4e12 });
// The agent insists on https, which the collector of the tests does not serve.
const useHttp = { request: (options) => ((options.uri = options.uri.replace("https:", "http:")), options) };
profiler
  .start({
    projectId: "demo-project",
    serviceContext: { service, version: "1.2.3" },
    zone: "z-1",
    apiEndpoint: url.replace("http://", ""),
    authClient,
    interceptors_: [useHttp],
    instance: "i-1",
    logLevel: 4,
  })
  .then(() => work(3600));
